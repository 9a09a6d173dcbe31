"""The runner: what runs beside what, what becomes a record, and what a kill leaves behind.

Every task starts a process, which takes seconds; so a few plans are run once, and each test looks at one side.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from effbench.encoders.registry import setting_defaults
from effbench.errors import InputError
from effbench.study import environment, runner
from effbench.study.record import Record, RecordBook
from effbench.study.runner import Outcome, Runner, task_key
from effbench.study.suite import Task

MakeTask = Callable[..., Task]


@dataclass
class Notes:
    """A display that remembers."""

    lines: list[tuple[str, str, Any]] = field(default_factory=list)

    def started(self, title: str) -> None:
        self.lines.append(("started", title, None))

    def progressed(self, title: str, event: dict[str, Any]) -> None:
        self.lines.append(("progressed", title, event))

    def finished(self, title: str, record: Record) -> None:
        self.lines.append(("finished", title, record))


def records(folder: Path) -> list[Record]:
    return RecordBook(folder / "records.jsonl").records


def title(record: Record) -> str:
    return record.cell["options"]["title"]


# --- one plan with everything in it --------------------------------------------------------------------------------


@dataclass
class Ran:
    """A plan that was run."""

    folder: Path
    tasks: list[Task]
    outcome: Outcome
    notes: Notes

    @property
    def by_title(self) -> dict[str, Record]:
        return {title(record): record for record in records(self.folder)}


def narrowed(task: Task) -> Task:
    return replace(task, cell=replace(task.cell, settings={"embedding": "max_pool"}, width={"dim": 32}))


@pytest.fixture(scope="module")
def ran(make_task: MakeTask, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder, meeting = tmp_path_factory.mktemp("study") / "results", tmp_path_factory.mktemp("meeting")
    counting = ["nothing", "die", "nothing", "raise", "nothing", "run out of memory", "give no number", "nothing"]
    tasks = [
        *(make_task(f"count {i}", does, counts=True, inputs={"at": "here"}) for i, does in enumerate(counting, 1)),
        *(make_task(f"beside {i}", "meet a neighbour", inputs={"meeting": str(meeting)}) for i in (1, 2)),
        make_task("no data", skip="no folder beside the data root"),
        make_task("no unicorn", "need a unicorn"),
        narrowed(make_task("alone 1", "sleep", alone=True)),
        make_task("alone 2", "print", alone=True),
    ]
    notes = Notes()
    outcome = Runner(folder, notes, cores=2).run(tasks)
    return Ran(folder, tasks, outcome, notes)


def test_every_task_becomes_one_record(ran: Ran) -> None:
    assert Counter(map(title, records(ran.folder))) == Counter(task.title for task in ran.tasks)
    for record in records(ran.folder):
        task = next(task for task in ran.tasks if task.title == title(record))
        assert record.key == task_key(task)
        assert record.cell == task.cell.to_json()
        assert record.environment == environment.environment()


def test_the_outcome_counts_them(ran: Ran) -> None:
    assert ran.outcome == Outcome(measured=14, measured_before=0, failed=4)


def test_what_a_probe_returns_is_in_its_record(ran: Ran) -> None:
    record = ran.by_title["count 1"]
    assert (record.status, record.reason, record.unit) == ("ok", None, "s")
    assert len(record.samples) == 2
    assert record.detail["at"] == "here", "the task's inputs reach the probe"
    assert record.implementation == {"operator": "scripted"}
    assert record.seconds >= 0


def test_the_settings_that_ran_are_in_it_with_their_defaults(ran: Ran) -> None:
    assert ran.by_title["count 1"].detail["settings"] == setting_defaults("fpn")
    chosen = {"embedding": "max_pool", "dim": 32}
    assert ran.by_title["alone 1"].detail["settings"] == {**setting_defaults("fpn"), **chosen}


def test_tasks_that_need_not_run_alone_run_side_by_side(ran: Ran) -> None:
    """Each of the two waits for the other."""
    assert ran.by_title["beside 1"].status == ran.by_title["beside 2"].status == "ok"


def test_nothing_runs_beside_a_task_that_runs_alone(ran: Ran) -> None:
    spans = {name: record.samples for name, record in ran.by_title.items() if record.status == "ok"}
    for alone in ("alone 1", "alone 2"):
        for other, (began, ended) in spans.items():
            assert other == alone or ended <= spans[alone][0] or began >= spans[alone][1], other


def test_groups_keep_their_order(ran: Ran) -> None:
    assert [title(record) for record in records(ran.folder)][-2:] == ["alone 1", "alone 2"]


def test_a_task_alone_has_all_cores_and_the_others_one(ran: Ran) -> None:
    assert ran.by_title["alone 1"].detail["threads"] == 2
    assert ran.by_title["alone 1"].detail["omp"] == "2"
    assert ran.by_title["beside 1"].detail["threads"] == 1
    assert ran.by_title["beside 1"].detail["omp"] == "1"


def test_counting_tasks_share_processes_and_the_others_have_one_each(ran: Ran) -> None:
    done = {name: record.detail["pid"] for name, record in ran.by_title.items() if record.status == "ok"}
    shared = [pid for name, pid in done.items() if name.startswith("count")]
    own = [pid for name, pid in done.items() if not name.startswith("count")]
    assert len(set(shared)) < len(shared) == 4
    assert len(set(own)) == len(own) == 4
    assert not set(shared) & set(own)
    assert os.getpid() not in done.values()


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("count 2", "failed", "ended by signal 9"),
        ("count 4", "failed", "RuntimeError: told to fail"),
        ("count 6", "out_of_memory", "MemoryError: told to be too large"),
        ("count 7", "failed", "JSON"),  # NaN is none of its numbers
    ],
)
def test_a_failure_is_a_record_that_says_why(name: str, status: str, reason: str, ran: Ran) -> None:
    record = ran.by_title[name]
    assert record.status == status
    assert record.reason is not None and reason in record.reason
    assert record.samples == []


def test_the_output_of_a_killed_process_is_kept(ran: Ran) -> None:
    record = ran.by_title["count 2"]
    assert record.detail == {"signal": 9}
    assert Path((record.reason or "").rpartition(" ")[2]).is_file(), "the reason ends with the file"


def test_a_failure_takes_no_other_task_with_it(ran: Ran) -> None:
    """Not even those that were to share the process of one that was killed."""
    assert {ran.by_title[f"count {i}"].status for i in (1, 3, 5, 8)} == {"ok"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no data", "no folder beside the data root"),  # the plan's reason
        ("no unicorn", "needs a unicorn, and this machine has none"),  # the probe's
    ],
)
def test_a_skipped_task_says_why_and_starts_nothing(name: str, reason: str, ran: Ran) -> None:
    record = ran.by_title[name]
    assert (record.status, record.reason) == ("skipped", reason)
    assert ("started", name, None) not in ran.notes.lines


def test_what_a_library_prints_does_not_disturb_the_runner(ran: Ran) -> None:
    assert ran.by_title["alone 2"].status == "ok"
    logs = "".join(path.read_text() for path in ran.folder.rglob("log.txt"))
    assert "a library says hello" in logs
    assert "a child says hello" in logs


def test_the_display_is_told(ran: Ran) -> None:
    kinds = [kind for kind, name, _ in ran.notes.lines if name == "beside 1"]
    assert kinds == ["started", "progressed", "finished"]
    (event,) = [event for kind, name, event in ran.notes.lines if (kind, name) == ("progressed", "beside 1")]
    assert (event["done"], event["total"], event["note"]) == (1, 2, "half way")


def test_a_second_run_measures_nothing(ran: Ran) -> None:
    """But what a signal ended: that says nothing about the cell, and has a test of its own."""
    before = (ran.folder / "records.jsonl").read_bytes()
    notes = Notes()
    tasks = [task for task in ran.tasks if task.title != "count 2"]
    outcome = Runner(ran.folder, notes, cores=2).run(tasks)
    assert outcome == Outcome(measured=0, measured_before=13, failed=3), "a failure stands until it is retried"
    assert notes.lines == []
    assert (ran.folder / "records.jsonl").read_bytes() == before


# --- when a task is finished ---------------------------------------------------------------------------------------


@pytest.fixture
def answer(make_record: Callable[..., Record]) -> Callable[..., Record]:
    """The record that would answer a task here and now."""

    def make(task: Task, **changes: Any) -> Record:
        cell_id, probe, version, source, _, host = task_key(task)
        return make_record(
            **{
                "cell": task.cell.to_json(),
                "cell_id": cell_id,
                "probe": probe,
                "probe_version": version,
                "source": source,
                "environment": environment.environment(),
                "host": host,
                **changes,
            }
        )

    return make


def done(tmp_path: Path, task: Task, *answers: Record, retry_failed: bool = False) -> bool:
    book = RecordBook(tmp_path / "records.jsonl")
    for record in answers:
        book.append(record)
    return Runner(tmp_path, Notes(), retry_failed).is_done(book.latest(), task)


@pytest.mark.parametrize("status", ["ok", "skipped"])
@pytest.mark.parametrize("retry_failed", [False, True])
def test_a_finished_record_answers_its_task(
    status: str, retry_failed: bool, make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    task = replace(make_task("any"), skip="nothing to read" if status == "skipped" else None)
    assert done(tmp_path, task, answer(task, status=status), retry_failed=retry_failed)


def test_a_skip_whose_reason_is_gone_is_measured(
    make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    task = make_task("any")
    assert not done(tmp_path, task, answer(task, status="skipped"), retry_failed=False)


def test_a_skip_whose_reason_lasts_is_not(make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path) -> None:
    task = make_task("any", "need a unicorn")
    assert done(tmp_path, task, answer(task, status="skipped"))


@pytest.mark.parametrize("status", ["failed", "out_of_memory", "invalid"])
def test_a_failed_one_is_retried_on_demand_only(
    status: str, make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    task = make_task("any")
    assert done(tmp_path, task, answer(task, status=status))
    assert not done(tmp_path, task, retry_failed=True)


def test_one_that_a_signal_ended_always_is(make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path) -> None:
    task = make_task("any")
    assert not done(tmp_path, task, answer(task, status="failed", detail={"signal": 9}))
    assert done(tmp_path, task, answer(task))


@pytest.mark.parametrize(
    "change",
    [
        {"source": "0" * 16},
        {"environment": {"python": "2.7"}},
        {"host": "0" * 12},
        {"probe_version": "0"},
        {"cell_id": "0" * 16},
    ],
)
def test_a_record_of_another_source_environment_or_machine_answers_nothing(
    change: dict, make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    task = make_task("any")
    assert not done(tmp_path, task, answer(task, **change))


def test_the_last_record_decides(make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path) -> None:
    task = make_task("any")
    assert done(tmp_path, task, answer(task, status="failed"), answer(task), retry_failed=True)


def test_where_the_data_lies_is_no_part_of_the_question(make_task: MakeTask) -> None:
    task = make_task("any", inputs={"data_root": "here"})
    assert task_key(replace(task, inputs={"data_root": "there"})) == task_key(task)


def test_the_encoders_own_source_is(make_task: MakeTask) -> None:
    keys = {encoder: task_key(make_task("any", encoder=encoder)) for encoder in ("fpn", "mask2former")}
    assert keys["fpn"][3] != keys["mask2former"][3]


# --- tried again, and killed ------------------------------------------------------------------------------------


def test_a_failure_that_is_tried_again_stays_on_record(
    make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    task = make_task("any")
    RecordBook(tmp_path / "records.jsonl").append(answer(task, status="failed", reason="once"))
    assert Runner(tmp_path, Notes()).run([task]) == Outcome(measured=0, measured_before=1, failed=1)
    outcome = Runner(tmp_path, Notes(), retry_failed=True).run([task])
    assert outcome == Outcome(measured=1, measured_before=0, failed=0)
    assert [record.status for record in records(tmp_path)] == ["failed", "ok"]


def test_what_was_killed_from_outside_is_measured_by_the_same_command(
    make_task: MakeTask, answer: Callable[..., Record], tmp_path: Path
) -> None:
    tasks = [make_task("killed"), make_task("failed")]
    book = RecordBook(tmp_path / "records.jsonl")
    for task, detail in zip(tasks, ({"signal": 15}, {}), strict=True):
        book.append(answer(task, status="failed", detail=detail))
    assert Runner(tmp_path, Notes()).run(tasks) == Outcome(measured=1, measured_before=1, failed=1)
    assert [(title(r), r.status) for r in records(tmp_path)][2:] == [("killed", "ok")]


RUN = """
import sys
import pytest
from pathlib import Path
from effbench.study.cell import Cell
from effbench.study.runner import Runner
from effbench.study.suite import Task

class Quiet:
    def __getattr__(self, name):
        return lambda *arguments: None

def task(title, does):
    options = {"does": does, "title": title}
    cell = Cell("fpn", "none", dataset="none", size="none", classes=1, queries=1, options=options)
    return Task(cell, "scripted", title)

Runner(Path(sys.argv[1]), Quiet(), cores=2).run([task("quick", "nothing"), task("slow", "hang the first time")])
"""


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has asked for does not."""
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@dataclass
class Hanging:
    """A runner in another process: its first task is on record, its second hangs."""

    folder: Path
    process: subprocess.Popen[bytes]
    worker: int


@pytest.fixture
def hanging(scripted: None, tmp_path: Path) -> Iterator[Hanging]:
    folder = tmp_path / "results"
    process = subprocess.Popen([sys.executable, "-c", RUN, str(folder)])
    worker = 0
    try:

        def pids() -> dict[str, int]:
            texts = [path.read_text() for path in folder.glob("work/*/started")]
            return {name: int(pid) for pid, _, name in (text.partition(" ") for text in texts)}

        assert wait_until(lambda: "slow" in pids() and len(records(folder)) == 1, 120)
        worker = pids()["slow"]
        assert alive(worker)
        yield Hanging(folder, process, worker)
    finally:
        process.kill()
        process.wait()
        if worker and alive(worker):
            os.kill(worker, signal.SIGKILL)


def test_a_killed_run_leaves_no_worker_and_is_finished_by_the_same_plan(hanging: Hanging, make_task: MakeTask) -> None:
    tasks = [make_task("quick"), make_task("slow", "hang the first time")]
    with pytest.raises(InputError, match="another run is writing into"):
        Runner(hanging.folder, Notes()).run(tasks)

    os.kill(hanging.process.pid, signal.SIGKILL)
    hanging.process.wait()
    assert wait_until(lambda: not alive(hanging.worker), 10), "its worker goes on behind the next run's back"
    assert [title(r) for r in records(hanging.folder)] == ["quick"]

    assert Runner(hanging.folder, Notes()).run(tasks) == Outcome(measured=1, measured_before=1, failed=0)
    found = {title(record): record for record in records(hanging.folder)}
    assert len(records(hanging.folder)) == len(found) == 2, "every cell once"
    assert found["slow"].detail["resumed"] is True, "the task finds what the killed one left in its work folder"


def test_an_edit_while_a_task_runs_makes_its_record_old_and_the_run_ends_well(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process read before the edit is kept under the sources that it read, and measured anew next time."""
    sources = ["before" * 2]
    monkeypatch.setattr(runner, "source_hash", lambda modules: sources[-1])

    class Editing(Notes):
        def started(self, title: str) -> None:
            sources.append("after" * 3)

    tasks = [make_task("fails", "raise")]
    assert Runner(tmp_path, Editing()).run(tasks) == Outcome(measured=1, measured_before=0, failed=1)
    assert [record.source for record in records(tmp_path)] == [sources[0]]
    assert not Runner(tmp_path, Notes()).is_done(RecordBook(tmp_path / "records.jsonl").latest(), tasks[0])


# --- a folder that cannot be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_the_place_of_the_folder_is_refused(below: str, make_task: MakeTask, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    with pytest.raises(InputError, match=r"no results can be written into .*file.*; name another folder"):
        Runner(file / below, Notes()).run([make_task("any")])
    assert file.read_text() == "no folder"


def test_a_folder_that_takes_no_lock_is_refused_before_anything_is_measured(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Any, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", read_only)
    notes = Notes()
    with pytest.raises(InputError, match=r"no results can be written into .*Read-only file system"):
        Runner(tmp_path, notes).run([make_task("any")])
    assert notes.lines == []


def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_goes_on(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [make_task(f"skipped {i}", skip="nothing to read") for i in range(3)]
    sync, synced = os.fsync, []

    def fills_up(file: int) -> None:
        synced.append(file)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.raises(InputError, match=r"records\.jsonl: a record cannot be written .*No space left on device"):
        Runner(tmp_path, Notes()).run(tasks)
    assert len(records(tmp_path)) == 1
    assert Runner(tmp_path, Notes()).run(tasks) == Outcome(measured=2, measured_before=1, failed=0)
    assert "torn" not in capsys.readouterr().err


def test_a_torn_line_is_said_on_stderr_and_its_task_measured_again(
    make_task: MakeTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [make_task(f"skipped {i}", skip="nothing to read") for i in range(2)]
    Runner(tmp_path, Notes()).run(tasks)
    file = tmp_path / "records.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    capsys.readouterr()
    assert Runner(tmp_path, Notes()).run(tasks) == Outcome(measured=1, measured_before=1, failed=0)
    (said,) = capsys.readouterr().err.splitlines()
    assert str(file) in said and "torn" in said and "records.jsonl.torn" in said
    assert len(records(tmp_path)) == 2

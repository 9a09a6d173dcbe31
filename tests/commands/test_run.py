"""`effbench run` and `effbench report`: what they say, what they leave, and what they end with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.study.environment import environment
from effbench.study.record import Record, RecordBook
from effbench.study.runner import Outcome, Runner, task_key
from effbench.study.suite import Options, find_suite

Call = Callable[..., Any]
Refused = Callable[..., str]


@pytest.mark.parametrize("command", ["run", "report"])
@pytest.mark.parametrize("suite", ["coco", "cityscapes"])
def test_a_bad_data_root_is_one_line_and_leaves_nothing(
    suite: str, command: str, refused: Refused, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    line = refused(command, suite, "--data-root", "/nonexistent", "--results", results)
    assert f"/nonexistent not found; expected the folder of {suite} there because of the data root" in line
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["cocoa"], "no suite is called 'cocoa'"),
        (["coco", "--profile", "half"], "profile 'half'"),
        (["coco", "--profile", "full", "--data-root", "."], "leave one of the two out"),
        (["coco", "--profile", "full", "--device", "tpu"], "device 'tpu'; expected one of cpu, cuda"),
        (["coco", "--device", "cuda"], "profile quick runs on the CPU, not on cuda; leave --device out"),
        (["coco", "--profile", "smoke"], "--data-root PATH), or EFFBENCH_DATASETS or DETECTRON2_DATASETS"),
        (["coco", "--profile", "quick", "--data-root", "."], "leave one of the two out"),
        (["cityscapes", "--profile", "quick"], "profile 'quick'"),
        (["cityscapes", "--profile", "costs", "--data-root", "."], "needs no photos"),
        (["cityscapes", "--limit", "3"], "--limit"),
        (["coco", "--limit", "3"], "--limit"),
        (["coco", "--system", "resnet"], "system 'resnet'"),
    ],
)
def test_run_refuses_what_does_not_fit_together(
    arguments: list[str], part: str, refused: Refused, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert part in refused("run", *arguments, "--results", results)
    assert not results.exists()


def test_a_results_folder_that_cannot_be_made_is_one_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert str(tmp_path / "file") in refused("run", "coco", "--results", tmp_path / "file")


def test_a_report_of_nothing_is_refused(refused: Refused, tmp_path: Path) -> None:
    line = refused("report", "coco", "--results", tmp_path)
    assert "records.jsonl not found" in line and "effbench run coco" in line
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(effbench: Call, tmp_path: Path, photos: Path) -> None:
    results = tmp_path / "results"
    # no panoptic_sample lies beside the photos
    for arguments, skipped in (([], 0), (["--data-root", photos], 1)):
        answer = effbench("run", "coco", *arguments, "--dry-run", "--json", "--results", results)
        assert answer.code == 0
        tasks = answer.last["tasks"]
        assert answer.last["folder"].startswith(str(results))
        assert tasks and all(task.keys() == {"task", "status"} for task in tasks)
        assert Counter(task["status"] for task in tasks) == Counter({"to do": len(tasks) - skipped, "to skip": skipped})
        assert all(f"{task['status']}  {task['task']}" in answer.out for task in tasks)
        assert any("fpn" in task["task"] for task in tasks)
    assert not results.exists()


def test_cityscapes_needs_no_data_to_count(effbench: Call, tmp_path: Path) -> None:
    answer = effbench("run", "cityscapes", "--dry-run", "--json", "--results", tmp_path / "results")
    assert answer.code == 0
    assert answer.last["folder"].endswith("cityscapes/costs")
    titles = [task["task"] for task in answer.last["tasks"]]
    assert all(title.endswith(("MACs", "parameters")) for title in titles)
    assert {"mask2former on r50 MACs", "fpn on swin_t parameters"} <= set(titles)
    assert not (tmp_path / "results").exists()


@pytest.fixture
def on_record(effbench: Call, tmp_path: Path) -> Callable[..., Path]:
    """A results folder with a record of every task of `run coco`: its status and detail by the task's number."""

    def write(says: Callable[[int], dict[str, Any]]) -> Path:
        folder = Path(effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"])
        book = RecordBook(folder / "records.jsonl")
        for number, task in enumerate(find_suite("coco").plan(Options()).tasks):
            cell_id, probe, version, source, _, host = task_key(task)
            record = Record(
                task.cell.to_json(),
                cell_id,
                probe,
                version,
                unit="",
                samples=[],
                source=source,
                environment=environment(),
                host=host,
                started_at="2026-01-02T03:04:05+00:00",
                seconds=1.5,
                **{"reason": "as told", **says(number)},
            )
            book.append(record)
        return tmp_path

    return write


def test_a_dry_run_tells_what_stands_and_what_is_to_do(effbench: Call, on_record: Callable[..., Path]) -> None:
    says = [
        {"status": "ok", "reason": None},
        {"status": "failed"},
        {"status": "out_of_memory"},
        {"status": "failed", "detail": {"signal": 9}},  # measured again
        {"status": "skipped"},  # for a reason that is gone
    ]
    results = on_record(lambda number: says[min(number, 4)])
    first = ["ok", "failed", "out_of_memory", "to do", "to do"]
    answer = effbench("run", "coco", "--dry-run", "--json", "--results", results)
    assert [task["status"] for task in answer.last["tasks"][:5]] == first
    assert f"failed  {answer.last['tasks'][1]['task']}" in answer.out
    answer = effbench("run", "coco", "--dry-run", "--json", "--retry-failed", "--results", results)
    assert [task["status"] for task in answer.last["tasks"][:5]] == ["ok", *["to do"] * 4]


def test_failures_that_stand_end_with_1_though_nothing_is_measured(
    effbench: Call, on_record: Callable[..., Path]
) -> None:
    results = on_record(lambda number: {"status": "failed" if number % 2 else "out_of_memory"})
    answer = effbench("run", "coco", "--results", results, "--json")
    tasks = len(find_suite("coco").plan(Options()).tasks)
    assert answer.code == 1
    assert answer.last == {
        "folder": answer.last["folder"],
        "measured": 0,
        "measured_before": tasks,
        "failed": tasks,
    }
    assert f"{tasks} tasks failed" in answer.out and "--retry-failed" in answer.out


@pytest.mark.parametrize("command", ["run", "report"])
def test_reading_mends_nothing_since_another_process_may_be_writing(
    command: str, effbench: Call, tmp_path: Path
) -> None:
    """A line that is half written is put aside by the run that has the lock, not by one who only looks."""
    folder = Path(effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"])
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_text('{"schema": 1, "cell": {"enc')
    answer = effbench(command, "coco", *(["--dry-run"] if command == "run" else []), "--results", tmp_path)
    assert answer.code == 0
    assert (folder / "records.jsonl").read_text() == '{"schema": 1, "cell": {"enc'
    assert not (folder / "records.jsonl.torn").exists()


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (2, 1)])
def test_run_reports_and_its_exit_code_says_whether_something_failed(
    failed: int, code: int, effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(self: Runner, tasks: Any) -> Outcome:
        self.folder.mkdir(parents=True)
        return Outcome(measured=3, measured_before=1, failed=failed)

    monkeypatch.setattr(Runner, "run", measured)  # measuring takes minutes
    answer = effbench("run", "coco", "--results", tmp_path, "--json")
    assert answer.code == code
    assert answer.last == {
        "folder": str(next(tmp_path.glob("*/coco/quick"))),
        "measured": 3,
        "measured_before": 1,
        "failed": failed,
    }
    (page,) = tmp_path.glob("*/coco/quick/README.md")
    full, narrow = answer.out.split("coco, profile quick, full width")[1].split("coco, profile quick, narrow")
    assert "encoder GFLOPs" in full and "encoder M" in full and "PQ" not in full
    assert "PQ things" in narrow and "printed" not in narrow
    assert f"Report: {page}" in answer.out
    assert ("--retry-failed" in answer.out) == bool(failed)


def test_a_suite_without_narrow_models_is_one_table(
    effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "run", lambda self, tasks: Outcome(measured=0, measured_before=0, failed=0))
    answer = effbench("run", "cityscapes", "--results", tmp_path)
    assert answer.code == 0
    assert "cityscapes, profile costs, full width" in answer.out and "costs, narrow" not in answer.out
    assert all(name in answer.out for name in ("convnext_unet", "r50", "swin_t", "printed"))
    assert "Costs alone: nothing was trained or timed." in answer.out


def test_an_interrupt_ends_with_130(effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", interrupted)
    answer = effbench("run", "coco", "--results", tmp_path)
    assert answer.code == 130
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("variable", ["EFFBENCH_DATASETS", "DETECTRON2_DATASETS"])
def test_smoke_finds_its_photos_through_the_environment(
    variable: str, effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(datasets))
    for suite in ("coco", "cityscapes"):
        common = ("run", suite, "--dry-run", "--json", "--results", tmp_path / "results")
        named = effbench(*common, "--profile", "smoke").last
        assert named == effbench(*common, "--data-root", datasets / suite).last
        assert named["folder"].endswith(f"{suite}/smoke")


def test_a_variable_alone_does_not_turn_a_profile_into_smoke(
    effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFBENCH_DATASETS", str(datasets))
    assert effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"].endswith("coco/quick")

"""Runs a plan: one fresh process per task, each finished task a record at once.

Timings run alone with all cores. Everything else runs beside others, one thread each, because small models gain
little from a second thread. Only the runner writes records, and a lock keeps a second runner out of the folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

from filelock import FileLock, Timeout

from effbench.encoders.registry import encoder_class
from effbench.errors import InputError
from effbench.probes.base import load_probe
from effbench.study import environment
from effbench.study.record import FINISHED, Key, Record, RecordBook, key
from effbench.study.source import source_hash
from effbench.study.suite import Task


class Display(Protocol):
    """Shows what is going on; see effbench/study/progress.py."""

    def started(self, title: str) -> None: ...
    def progressed(self, title: str, event: dict[str, Any]) -> None: ...
    def finished(self, title: str, record: Record) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """How many tasks of a plan were measured now, were finished before, or failed."""

    measured: int
    finished_before: int
    failed: int


@dataclass
class Runner:
    """Measures the tasks of a plan into `folder`/records.jsonl.

    Attributes:
        folder: of the results.
        display: progress.
        retry_failed: measure again what failed before under the same key.
        cores: how many tasks may run side by side.
    """

    folder: Path
    display: Display
    retry_failed: bool = False
    cores: int = field(default_factory=lambda: environment.environment()["cores"])

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Measure what is not finished yet. Raises InputError when another runner has the folder."""
        with self._locked():
            book = RecordBook(self.folder / "records.jsonl")
            if book.recovered:
                print(book.recovered, file=sys.stderr)
            phases = [(alone, list(group)) for alone, group in itertools.groupby(tasks, key=lambda task: task.alone)]
            measured = failed = 0
            for alone, phase in phases:
                for record in self._phase(alone, [task for task in phase if not self.is_done(book, task)]):
                    book.append(record)
                    measured += 1
                    failed += record.status not in FINISHED
            return Outcome(measured - failed, len(tasks) - measured, failed)

    def is_done(self, book: RecordBook, task: Task) -> bool:
        """Whether a finished record answers the task (or a failed one, unless failures are retried).

        A task that was skipped for a reason that is gone is not done.
        """
        record = book.latest().get(task_key(task))
        if record is None or (record.status == "skipped" and task.skip is None):
            return False
        return record.status in FINISHED or not self.retry_failed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"no results can be written into {self.folder} ({error}); name another folder") from error
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout:
            raise InputError(
                f"another run is writing into {self.folder}; wait for it, or name another folder"
            ) from None

    def _phase(self, alone: bool, tasks: Sequence[Task]) -> Iterator[Record]:
        """Records in the order in which tasks end: one task after another, or side by side."""
        if alone:
            for task in tasks:
                yield from self._side_by_side([[task]])
            return
        counting = [task for task in tasks if task.counts]
        share = max(1, math.ceil(len(counting) / self.cores))
        own = [[task] for task in tasks if not task.counts]
        yield from self._side_by_side([*own, *(counting[i : i + share] for i in range(0, len(counting), share))])

    def _side_by_side(self, units: Sequence[Sequence[Task]]) -> Iterator[Record]:
        """Run units, each the tasks of one process, as many at a time as there are cores."""
        waiting, running = list(units), 0
        ended: queue.Queue[Record | BaseException | None] = queue.Queue()

        def work(unit: Sequence[Task]) -> None:
            try:
                for record in self._in_a_process(unit):
                    ended.put(record)
                ended.put(None)
            except BaseException as error:
                ended.put(error)

        while waiting or running:
            while waiting and running < self.cores:
                threading.Thread(target=work, args=(waiting.pop(0),), daemon=True).start()
                running += 1
            result = ended.get()
            if isinstance(result, Record):
                yield result
                continue
            running -= 1
            if result is not None:
                raise result

    def _in_a_process(self, unit: Sequence[Task]) -> Iterator[Record]:
        """The records of tasks that share one fresh process, one after another."""
        measured = [task for task in unit if task.skip is None]
        for task in unit:
            if task.skip is not None:
                yield self._record(task, {"status": "skipped", "reason": task.skip}, _Clock())
        if not measured:
            return
        threads = self.cores if measured[0].alone else 1
        log = self._work(measured[0]) / "log.txt"
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "effbench.study.worker"]
        with (
            log.open("a") as errors,
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=variables,
            ) as process,
        ):
            assert process.stdin is not None and process.stdout is not None
            jobs = [
                {
                    "cell": task.cell.to_json(),
                    "probe": task.probe,
                    "inputs": dict(task.inputs),
                    "threads": threads,
                    "work": str(self._work(task)),
                }
                for task in measured
            ]
            process.stdin.write(json.dumps(jobs) + "\n")
            process.stdin.flush()  # and stays open: its end tells the worker that the runner is gone
            ended = 0
            for task in measured:
                clock = _Clock()
                self.display.started(task.title)
                result = self._result(process.stdout, task)
                ended += 1
                if result is None:
                    code = process.wait()
                    why = "was killed, perhaps for memory" if code == -9 else f"ended with code {code}"
                    result = {"status": "failed", "reason": f"its process {why}; the output is in {log}"}
                    yield self._record(task, result, clock)
                    break
                yield self._record(task, result, clock)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        yield from self._in_a_process(measured[ended:])  # those that a killed process leaves get another

    def _result(self, events: IO[str], task: Task) -> dict[str, Any] | None:
        """The next result that the worker sends, or None when it ended without one."""
        for line in events:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "result":
                return event
            self.display.progressed(task.title, event)
        return None

    def _work(self, task: Task) -> Path:
        """A folder for what a killed task should find again."""
        cell_id, probe, _, source, *_ = task_key(task)
        folder = self.folder / "work" / f"{probe}-{cell_id}-{source}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _record(self, task: Task, result: Mapping[str, Any], clock: _Clock) -> Record:
        cell_id, probe, version, source, _, host = task_key(task)
        commit, dirty = environment.commit()
        record = Record(
            cell=task.cell.to_json(),
            cell_id=cell_id,
            probe=probe,
            probe_version=version,
            unit=result.get("unit", ""),
            samples=result.get("samples", []),
            status=result["status"],
            reason=result.get("reason"),
            detail=result.get("detail", {}),
            implementation=result.get("implementation", {}),
            source=source,
            environment=environment.environment(),
            host=host,
            commit=commit,
            dirty=dirty,
            started_at=clock.started_at,
            seconds=clock.seconds(),
        )
        self.display.finished(task.title, record)
        return record


class _Clock:
    """When a task began, and how long ago that was."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.began = time.monotonic()

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 3)


def task_key(task: Task) -> Key:
    """The identity of the record that would answer the task, here and now."""
    probe = load_probe(task.probe)
    modules = [
        "effbench.study.worker",
        f"effbench.probes.{task.probe}",
        encoder_class(task.cell.encoder).__module__,
    ]
    return key(
        task.cell.id,
        probe.NAME,
        probe.VERSION,
        source_hash(modules),
        environment.environment(),
        environment.host(),
    )

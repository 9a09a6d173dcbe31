"""Runs a plan: one fresh process per task, each finished task a record at once.

Timings run alone with all cores. Everything else runs beside others, one thread each, because small models gain
little from a second thread; what further cores a task asks for load images ahead. Only the runner writes records, and
a lock keeps a second runner out of the folder.
"""

from __future__ import annotations

import itertools
import math
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from effbench.encoders.registry import encoder_class
from effbench.errors import InputError
from effbench.probes.base import load_probe
from effbench.study import environment
from effbench.study.process import WorkerProcess
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
    """How many tasks of a plan were measured now or before, and how many of all stand as failed."""

    measured: int
    measured_before: int
    failed: int


@dataclass
class Runner:
    """Measures the tasks of a plan into `folder`/records.jsonl.

    Attributes:
        folder: of the results.
        display: progress.
        retry_failed: measure again what failed before under the same key.
        cores: how many tasks that run side by side may keep busy together.
    """

    folder: Path
    display: Display
    retry_failed: bool = False
    cores: int = field(default_factory=lambda: environment.environment()["cores"])

    def run(self, tasks: Sequence[Task]) -> Outcome:
        """Measure what is not finished yet. Raises InputError when another runner has the folder."""
        with self._locked():
            environment.commit()  # as it is now, not when the first record is made
            book = RecordBook(self.folder / "records.jsonl")
            if book.recovered:
                print(book.recovered, file=sys.stderr)
            measured, standing = [], []
            for alone, phase in itertools.groupby(tasks, key=lambda task: task.alone):
                known, group = book.latest(), list(phase)
                done = [task for task in group if self.is_done(known, task)]
                # asked now: a source that is edited while the others run has another key afterwards
                standing += [known[task_key(task)] for task in done]
                for record in self._phase(alone, [task for task in group if task not in done]):
                    book.append(record)
                    measured.append(record)
            failed = sum(record.status not in FINISHED for record in (*standing, *measured))
            return Outcome(len(measured), len(standing), failed)

    def is_done(self, known: Mapping[Key, Record], task: Task) -> bool:
        """Whether a record in `known` answers the task: a finished one, or a failed one unless failures are retried.

        Not done is a task that was skipped for a reason that is gone, or whose process was killed from outside,
        which says nothing about the cell.
        """
        record = known.get(task_key(task))
        if record is None or (record.status == "skipped" and skip_reason(task) is None) or "signal" in record.detail:
            return False
        return record.status in FINISHED or not self.retry_failed

    def status(self, known: Mapping[Key, Record], task: Task) -> str:
        """What the record that answers the task says; without one, "to do" or "to skip"."""
        if self.is_done(known, task):
            return known[task_key(task)].status
        return "to skip" if skip_reason(task) else "to do"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InputError(
                f"another run is writing into {self.folder}; wait for it, or name another folder"
            ) from None
        except OSError as error:
            raise InputError(f"no results can be written into {self.folder} ({error}); name another folder") from error
        try:
            yield
        finally:
            lock.release()

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
        """Run units, each the tasks of one process, in their order and as many at a time as have cores."""
        waiting, free = list(units), self.cores
        ended: queue.Queue[Record | tuple[int, BaseException | None]] = queue.Queue()

        def work(unit: Sequence[Task]) -> None:
            failure: BaseException | None = None
            try:
                for record in self._in_a_process(unit):
                    ended.put(record)
            except BaseException as error:
                failure = error
            ended.put((self._cores(unit), failure))

        while waiting or free < self.cores:
            while waiting and self._cores(waiting[0]) <= free:
                free -= self._cores(waiting[0])
                threading.Thread(target=work, args=(waiting.pop(0),), daemon=True).start()
            result = ended.get()
            if isinstance(result, Record):
                yield result
                continue
            cores, error = result
            free += cores
            if error is not None:
                raise error

    def _cores(self, unit: Sequence[Task]) -> int:
        """How many the process of a unit may keep busy: one that asks for more than there are has them all."""
        first = unit[0]
        if first.alone:
            return self.cores
        return 1 if first.counts else min(first.cores, self.cores)

    def _in_a_process(self, unit: Sequence[Task]) -> Iterator[Record]:
        """The records of tasks that share one fresh process, one after another."""
        # The sources are hashed before the process reads them: an edit meanwhile makes the record old, not wrong.
        keys = {id(task): task_key(task) for task in unit}
        reasons = {id(task): skip_reason(task) for task in unit}
        measured = [task for task in unit if reasons[id(task)] is None]
        for task in unit:
            if reasons[id(task)] is not None:
                skipped = {"status": "skipped", "reason": reasons[id(task)]}
                yield self._record(task, keys[id(task)], skipped, _Clock())
        if not measured:
            return
        threads = self.cores if measured[0].alone else 1
        folders = [self._work(keys[id(task)]) for task in measured]
        jobs = [
            {
                "cell": task.cell.to_json(),
                "probe": task.probe,
                "inputs": dict(task.inputs),
                "threads": threads,
                "cores": self._cores(unit),
                "work": str(work),
            }
            for task, work in zip(measured, folders, strict=True)
        ]
        ended = 0
        with WorkerProcess(jobs, threads, folders[0] / "log.txt") as process:
            for task in measured:
                clock = _Clock()
                self.display.started(task.title)
                result = process.result(partial(self.display.progressed, task.title))
                ended += 1
                yield self._record(task, keys[id(task)], result or process.failure(), clock)
                if result is None:
                    break
        yield from self._in_a_process(measured[ended:])  # those that a dead process leaves get another

    def _work(self, of: Key) -> Path:
        """A folder for what a killed task should find again."""
        cell_id, probe, _, source, *_ = of
        folder = self.folder / "work" / f"{probe}-{cell_id}-{source}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _record(self, task: Task, of: Key, result: Mapping[str, Any], clock: _Clock) -> Record:
        cell_id, probe, version, source, _, host = of
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


def skip_reason(task: Task) -> str | None:
    """Why the task cannot be measured here: the plan's reason, or what the probe misses on this machine."""
    return task.skip or load_probe(task.probe).missing(task.cell)


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
        *encoder_class(task.cell.encoder).source_modules(task.cell.settings),
    ]
    return key(
        task.cell.id,
        probe.NAME,
        probe.VERSION,
        source_hash(modules),
        environment.environment(),
        environment.host(),
    )

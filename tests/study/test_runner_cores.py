"""How many cores tasks keep busy side by side, and what each is told of its own.

The processes are played: what is asked is when the runner starts one, and with which job.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from effbench.probes import base
from effbench.probes.base import Context, Measurement
from effbench.study import runner, worker
from effbench.study.cell import Cell
from effbench.study.runner import Outcome, Runner
from effbench.study.suite import Task

MakeTask = Callable[..., Task]


class Stage:
    """Where processes are played: who was there at once, and the job of each task."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.threads: dict[str, int] = {}
        self.at_once: list[set[str]] = []
        self.meeting: tuple[set[str], threading.Barrier] = set(), threading.Barrier(1)
        self.lock, self.present = threading.Lock(), set[str]()

    def meet(self, *titles: str) -> None:
        """None of these ends before all of them run."""
        self.meeting = set(titles), threading.Barrier(len(titles), timeout=20)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()

    class Played:
        def __init__(self, jobs: list[dict[str, Any]], threads: int, log: Path) -> None:
            self.titles = [job["cell"]["options"]["title"] for job in jobs]
            stage.jobs.update(zip(self.titles, jobs, strict=True))
            stage.threads.update(dict.fromkeys(self.titles, threads))
            self.left = iter(self.titles)

        def __enter__(self) -> Played:
            with stage.lock:
                stage.present |= {*self.titles}
                stage.at_once.append({*stage.present})
            return self

        def __exit__(self, *_: object) -> None:
            with stage.lock:
                stage.present -= {*self.titles}

        def result(self, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
            titles, barrier = stage.meeting
            if next(self.left) in titles:
                barrier.wait()
            time.sleep(0.03)  # long enough for one who should wait to be seen if it does not
            return {"status": "ok", "unit": "s", "samples": [1.0]}

    monkeypatch.setattr(runner, "WorkerProcess", Played)
    return stage


class Quiet:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def run(folder: Path, cores: int, *tasks: Task) -> None:
    outcome = Runner(folder, Quiet(), cores=cores).run(tasks)
    assert outcome == Outcome(measured=len(tasks), measured_before=0, failed=0)


def test_as_many_run_at_once_as_have_their_cores(stage: Stage, make_task: MakeTask, tmp_path: Path) -> None:
    wanted = {"a": 2, "b": 2, "c": 3, "d": 1, "e": 2}
    stage.meet("a", "b")
    run(tmp_path, 5, *(make_task(title, cores=cores) for title, cores in wanted.items()))
    assert {"a", "b"} in stage.at_once
    assert all(sum(wanted[title] for title in titles) <= 5 for titles in stage.at_once)
    assert {title: job["cores"] for title, job in stage.jobs.items()} == wanted
    assert set(stage.threads.values()) == {1}, "one computes, the others load images"
    assert all(job["threads"] == 1 for job in stage.jobs.values())


def test_they_keep_their_order(stage: Stage, make_task: MakeTask, tmp_path: Path) -> None:
    run(tmp_path, 4, make_task("a", cores=2), make_task("b", cores=3), make_task("c", cores=1))
    assert not any({"a", "c"} <= titles for titles in stage.at_once), "the smaller one would have fit beside the first"


def test_a_task_that_asks_for_more_than_there_are_runs_with_all(
    stage: Stage, make_task: MakeTask, tmp_path: Path
) -> None:
    run(tmp_path, 2, make_task("a"), make_task("greedy", cores=9), make_task("b"))
    assert [titles for titles in stage.at_once if "greedy" in titles] == [{"greedy"}]
    assert stage.jobs["greedy"]["cores"] == 2
    assert stage.threads["greedy"] == 1


def test_a_task_alone_has_all_and_counting_ones_have_one_each(
    stage: Stage, make_task: MakeTask, tmp_path: Path
) -> None:
    counting = [make_task(f"count {i}", counts=True, cores=3) for i in range(6)]
    stage.meet("count 0", "count 2", "count 4")  # the first of each process
    run(tmp_path, 3, *counting, make_task("alone", alone=True))
    assert (stage.jobs["alone"]["cores"], stage.threads["alone"]) == (3, 3)
    assert {stage.jobs[task.title]["cores"] for task in counting} == {1}
    assert {task.title for task in counting} in stage.at_once, "three processes on three cores"


def test_the_probe_is_told(make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(cell: Cell, context: Context) -> Measurement:
        return Measurement([context.cores], "cores")

    monkeypatch.setattr(base, "load_probe", lambda name: SimpleNamespace(measure=measure))
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    job = {"cell": make_task("any").cell.to_json(), "probe": "any", "inputs": {}, "threads": 1, "cores": 3}
    answer = worker._measure({**job, "work": str(tmp_path)}, io.StringIO())
    assert answer["samples"] == [3], json.dumps(answer)
    assert Context("unused").cores == 1

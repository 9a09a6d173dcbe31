"""How far this machine's timings move when nothing has changed, and how small a slow-down it can show.

The same forward is timed in fresh processes, half of which are busy a little longer: a planted slow-down, which takes
real time and does not touch the numbers. The processes take turns (A B B A), so that a drift hits both alike. Random
halves of the same kind are then compared by the rules of effbench/study/compare.py, and halves of different kinds:
effbench/study/aa_statistics.py says how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from effbench.encoders.registry import encoder_class
from effbench.errors import InputError
from effbench.files import replacing
from effbench.study.aa_statistics import Evaluation, Floats, evaluate, noise_floor
from effbench.study.compare import LEAST_PROCESSES, Floor, Quantity, interleaved

SCHEMA = 1
LEAST_PLANTED, MOST_PLANTED = 0.01, 1.0


@dataclass(frozen=True)
class Workload:
    """What a process times: see effbench/study/aa_worker.py.

    Attributes:
        encoder, settings: what runs, on the narrow random pyramid of an image of `size` (H, W).
        samples: forwards per process, each a sample. Of a few hundred the median is steady, and further ones show
            nothing of how processes differ.
    """

    encoder: str = "fpn"
    settings: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (64, 64)
    device: str = "cpu"
    threads: int = 1
    samples: int = 301


@dataclass(frozen=True)
class Process:
    """What one fresh process measured.

    Attributes:
        slowed: whether it was busy longer.
        started_at: UTC, ISO 8601.
        samples, warm_up: seconds.
    """

    slowed: bool
    started_at: str
    samples: Sequence[float]
    warm_up: Sequence[float]


@dataclass(frozen=True)
class Result:
    """One A/A run, with what it takes to believe it and to derive a floor for other numbers of processes."""

    workload: Mapping[str, Any]
    processes: Sequence[Process]
    evaluation: Evaluation
    environment: Mapping[str, Any]
    host: str
    started_at: str
    seconds: float
    implementation: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    schema: int = SCHEMA

    def medians(self, slowed: bool) -> Floats:
        """Of the processes of one kind, in the order of time, (2 N,) seconds."""
        return medians(self.processes, slowed)

    def fits(self, environment: Mapping[str, Any], device: str) -> bool:
        """Whether it was measured there: the environment with its host, and "cpu" or "cuda"."""
        here = {**self.environment, "host": self.host}
        return here == environment and self.workload["device"].partition(":")[0] == device

    def floor(self, size: int, took_turns: bool) -> float:
        """The noise floor for sides of `size` processes, as a share: the higher one of both kinds' floors."""
        return max(noise_floor(self.medians(slowed), size, took_turns) for slowed in (False, True))


def medians(processes: Sequence[Process], slowed: bool) -> Floats:
    """Of the processes of one kind, in their order."""
    return np.array([np.median(process.samples) for process in processes if process.slowed == slowed])


def run(
    workload: Workload,
    planted: float = 0.05,
    processes: int = 20,
    comparisons: int = 200,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Time 4 x `processes` fresh processes, of which `processes` are a side of a comparison, and evaluate them.

    Args:
        planted: slow-down, as a share: 0.05 is 5%.
        comparisons: of halves that did the same; those with the slow-down are half as many.
        report: called as report(done, total) after each process.

    Raises InputError for numbers that allow no verdict, and when a process fails.
    """
    from effbench.study import environment

    if processes < LEAST_PROCESSES:
        raise InputError(f"{processes} processes per side; expected at least {LEAST_PROCESSES}, fewer get no verdict")
    if comparisons < 2:
        raise InputError(f"{comparisons} comparisons; expected at least 2, and 200 to tell 1% of false alarms")
    if not LEAST_PLANTED <= planted <= MOST_PLANTED:
        raise InputError(f"a planted slow-down of {planted:.1%}; expected {LEAST_PLANTED:.0%} to {MOST_PLANTED:.0%}")
    began, started_at = time.monotonic(), _now()
    done, implementation = [], {}
    for turn in range(4 * processes):
        slowed = turn % 4 in (1, 2)  # A B B A
        at, answer = _now(), fresh_process(workload, planted if slowed else 0.0)
        done.append(Process(slowed, at, answer["samples"], answer["warm_up"]))
        implementation = answer["implementation"]
        report(len(done), 4 * processes)
    seconds = round(time.monotonic() - began, 1)
    evaluation = evaluate(medians(done, slowed=False), medians(done, slowed=True), planted, comparisons)
    commit, dirty = environment.commit()
    return Result(
        workload=asdict(workload),
        processes=done,
        evaluation=evaluation,
        environment=environment.environment(),
        host=environment.host(),
        started_at=started_at,
        seconds=seconds,
        implementation=implementation,
        commit=commit,
        dirty=dirty,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def fresh_process(workload: Workload, slower: float = 0.0) -> dict[str, Any]:
    """What a fresh process measures, with the planted slow-down `slower` as a share.

    Raises InputError when it fails, with the last line that it printed.
    """
    threads, cls = str(workload.threads), encoder_class(workload.encoder)
    job = {**asdict(workload), "module": cls.__module__, "class": cls.__name__, "slower": slower}
    ended = subprocess.run(
        [sys.executable, "-m", "effbench.study.aa_worker", json.dumps(job)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
    )
    if ended.returncode:
        last = ended.stderr.strip().rpartition("\n")[2]
        raise InputError(f"a measuring process of {workload.encoder} ended with code {ended.returncode}: {last}")
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


# --- stored results --------------------------------------------------------------------------------------------------


def write(result: Result, results: Path, machine: str) -> Path:
    """Store it as `results`/`machine`/aa/<start>.json and return the path."""
    path = results / machine / "aa" / (result.started_at[:19].replace(":", "").replace("-", "") + "Z.json")
    with replacing(path) as file:
        file.write((json.dumps(asdict(result), allow_nan=False, indent=1) + "\n").encode())
    return path


def read(path: Path) -> Result:
    """Invert `write`. Raises InputError for anything else."""
    try:
        data = json.loads(path.read_text())
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
        processes = [Process(**process) for process in data.pop("processes")]
        return Result(processes=processes, evaluation=Evaluation(**data.pop("evaluation")), **data)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no result of `effbench aa` ({type(error).__name__}: {error}); remove it and run that again"
        ) from error


def stored(results: Path) -> Iterator[Result]:
    """All results below a results folder, of any machine, published ones included, the newest first."""
    found = [*results.glob("*/aa/*.json"), *results.glob("published/*/aa/*.json")]
    yield from sorted((read(path) for path in found), key=lambda result: result.started_at, reverse=True)


def floor_from(results: Path) -> Floor:
    """The noise floor of a comparison, from the A/A runs in the same environment and on the same device.

    It is that of the newest run. Where one side was measured after the other, it is at least as large as any two runs
    of the same workload lie apart: what the machine did between them, it may do between the sides.
    """
    known = list(stored(results))

    def floor(before: Quantity, after: Quantity) -> float | None:
        place = {name: value for name, value in before.environment.items() if name != "threads"}
        fitting = [result for result in known if result.fits(place, before.device)]
        if not fitting:
            return None
        size = max(1, min(len(before.values), len(after.values)))
        took_turns = interleaved(before.started, after.started)
        within = fitting[0].floor(size, took_turns)
        return within if took_turns else max(within, drift(fitting))

    return floor


def drift(results: Sequence[Result]) -> float:
    """How far the runs of the first result's workload lie apart at most, as a share."""
    same = [np.median(result.medians(slowed=False)) for result in results if result.workload == results[0].workload]
    return float(max(same) / min(same) - 1)

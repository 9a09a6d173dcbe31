"""All of a GPU profile of suite kernels in one call and in few processes: `python -m effbench.suites.kernels_gpu`.

A fresh process for every cell, as `effbench run kernels --profile gpu` has it, takes longer to start than to measure.
Here some forty cells, those on the same inputs after one another, share a process; records are the same, in the same
folder, so that either command goes on where the other stopped. The most important cells come first, and no new
process begins after `--minutes`. At the end the report is written of what is there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from effbench.study.environment import machine
from effbench.study.progress import ProgressDisplay
from effbench.study.runner import Runner
from effbench.study.suite import Options, Task
from effbench.suites.kernels import SUITE

SHARING = 40
"""Cells of one process: what one that dies takes down with it is measured in another."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description="Measure suite kernels on a GPU.")
    parser.add_argument("--profile", default="gpu", help="gpu, or full with all axes crossed")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no new process begins")
    parser.add_argument("--results", type=Path, default=Path("results"))
    chosen = parser.parse_args(arguments)
    plan = SUITE.plan(Options(profile=chosen.profile))
    folder = chosen.results / machine(plan.device) / SUITE.name / plan.profile
    left = measure(plan.tasks, folder, 60 * chosen.minutes)
    if left:
        print(f"{left} of {len(plan.tasks)} cells are left; the same command goes on with them")
    if not (folder / "records.jsonl").is_file():
        return
    report = ["report", SUITE.name, "--profile", plan.profile, "--results", str(chosen.results)]
    subprocess.run([sys.executable, "-m", "effbench.cli", *report], check=True)


def measure(tasks: Sequence[Task], folder: Path, seconds: float) -> int:
    """Measure tasks in their order, many to a process, until the time is over; how many were not begun."""
    began = time.monotonic()
    # tasks that run beside others may share a process, and with one core nothing runs beside it
    shared = [replace(task, alone=False, counts=True) for task in tasks]
    with ProgressDisplay(Console()) as display:
        runner = Runner(folder, display, cores=1)
        for first in range(0, len(shared), SHARING):
            if time.monotonic() - began > seconds:
                return len(shared) - first
            runner.run(shared[first : first + SHARING])
    return 0


if __name__ == "__main__":
    main()

"""Ten kills at random moments, each followed by the same command, end where an undisturbed run ends."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from effbench.study.record import Record, RecordBook

KILLS = 10

RUN = """
import sys
from pathlib import Path
from effbench.study.cell import Cell
from effbench.study.runner import Runner
from effbench.study.suite import Task

class Quiet:
    def __getattr__(self, name):
        return lambda *arguments: None

def task(number, does, **fields):
    options = {"does": does, "title": str(number)}
    cell = Cell("fpn", "none", dataset="none", size="none", classes=1, queries=1, options=options)
    return Task(cell, "scripted", str(number), **fields)

tasks = [
    *(task(i, "nothing", counts=True) for i in range(4)),
    task(4, "sleep", alone=True),
    task(5, "raise", alone=True),
    *(task(i, "sleep") for i in range(6, 10)),
    task(10, "nothing", skip="no reason at all"),
]
Runner(Path(sys.argv[1]), Quiet(), cores=2).run(tasks)
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder)], stderr=subprocess.DEVNULL)


def finished(folder: Path) -> list[Record]:
    return RecordBook(folder / "records.jsonl").records


@pytest.mark.slow
def test_ten_kills_give_the_cells_of_an_undisturbed_run(scripted: None, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert start(undisturbed).wait(120) == 0
    moments = random.Random(7)
    killed = 0
    while killed < KILLS:
        process = start(disturbed)
        try:
            # a run takes seconds to import what it needs: most kills come after that, some before
            process.wait(timeout=moments.uniform(0.5, 6.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        if process.returncode == 0:  # it was through before the kill came: begin anew, what is killed is a new run
            (disturbed / "records.jsonl").unlink()
    assert start(disturbed).wait(120) == 0

    expected, found = finished(undisturbed), finished(disturbed)
    assert sorted(r.cell_id for r in found) == sorted(r.cell_id for r in expected), "every cell once"
    assert {r.cell_id: (r.status, r.reason) for r in found} == {r.cell_id: (r.status, r.reason) for r in expected}
    assert sum(r.status == "ok" for r in found) == 9

"""A probe that does what its cell's options say: whatever a runner must cope with, on demand."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from effbench.probes.base import Context, Measurement
from effbench.study.cell import Cell

NAME = "scripted"
VERSION = "1"
INSIDE = "whatever it was told to do"


def missing(cell: Cell) -> str | None:
    """What a machine can lack, on demand."""
    return "needs a unicorn, and this machine has none" if cell.options["does"] == "need a unicorn" else None


def measure(cell: Cell, context: Context) -> Measurement:
    """The sample says when it began and ended; the detail in which process."""
    began = time.time()
    started = Path(context.work) / "started"
    resumed = started.exists()
    started.write_text(f"{os.getpid()} {cell.options['title']}")
    context.report(done=1, total=2, note="half way")
    match cell.options["does"]:
        case "sleep":
            time.sleep(0.3)
        case "meet a neighbour":
            meeting = Path(context.inputs["meeting"])
            (meeting / str(os.getpid())).touch()
            while len(list(meeting.iterdir())) < 2:
                if time.time() > began + 60:
                    raise RuntimeError("nobody came")
                time.sleep(0.02)
        case "hang the first time" if not resumed:
            time.sleep(600)
        case "raise":
            raise RuntimeError("told to fail")
        case "run out of memory":
            raise MemoryError("told to be too large")
        case "give no number":
            return Measurement([float("nan")], "s")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "print":
            print("a library says hello\n{not json}", flush=True)
            os.system("echo a child says hello")
    detail = {"pid": os.getpid(), "resumed": resumed, "omp": os.environ["OMP_NUM_THREADS"], **context.inputs}
    return Measurement([began, time.time()], "s", detail, {"operator": "scripted"})

"""Tasks in a process of their own: `python -m effbench.study.worker`, driven by the runner over pipes.

Reads one JSON line (a list of tasks) from stdin and answers with JSON lines on stdout: for each task its progress
events, then its result.
It writes no records. When the runner dies, stdin closes and this process ends at once, so that nothing goes on
behind the back of a later run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import Any, TextIO


def main() -> None:
    """Run the tasks that stdin describes, one after another."""
    tasks = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    for task in tasks:
        _emit(events, _measure(task, events))


def _end_with_the_runner() -> None:
    sys.stdin.read()
    os._exit(1)


def _measure(task: dict[str, Any], events: TextIO) -> dict[str, Any]:
    try:
        import torch

        torch.set_num_threads(task["threads"])
        from effbench.encoders.registry import setting_defaults
        from effbench.probes.base import Context, load_probe
        from effbench.study.cell import Cell

        cell = Cell.from_json(task["cell"])
        context = Context(
            work=task["work"],
            inputs=task["inputs"],
            report=lambda **progress: _emit(events, {"event": "progress", **progress}),
            cores=task["cores"],
        )
        measured = load_probe(task["probe"]).measure(cell, context)
        result = {
            "event": "result",
            # a probe that watched the machine may find that its own samples are not to be believed
            "status": "invalid" if "invalid" in measured.detail else "ok",
            "reason": measured.detail.get("invalid"),
            "unit": measured.unit,
            "samples": list(measured.samples),
            # with the defaults that it ran with, which the cell does not repeat
            "detail": {
                **measured.detail,
                "settings": {**setting_defaults(cell.encoder, cell.settings), **cell.settings, **cell.width},
                "threads": task["threads"],
            },
            "implementation": dict(measured.implementation),
        }
        json.dumps(result, allow_nan=False)  # what no record could hold is this task's failure, not the study's end
        return result
    except Exception as error:  # a failing cell is a result, too: the study goes on
        traceback.print_exc()
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        status = "out_of_memory" if memory else "failed"
        return {"event": "result", "status": status, "reason": f"{type(error).__name__}: {error}"}


def _emit(events: TextIO, event: dict[str, Any]) -> None:
    events.write(json.dumps(event) + "\n")


if __name__ == "__main__":
    main()

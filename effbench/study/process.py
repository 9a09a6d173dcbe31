"""A worker process as the runner sees it: jobs in, progress and results out, over pipes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class WorkerProcess:
    """Runs jobs one after another in one fresh process; see effbench/study/worker.py for the other end.

    Args:
        jobs: plain JSON, each with cell, probe, inputs, threads, cores and work.
        threads: of the process.
        log: file that takes whatever the process prints.
    """

    def __init__(self, jobs: Sequence[dict[str, Any]], threads: int, log: Path) -> None:
        self.log = log
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "effbench.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=variables,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.events = self.process.stdin, self.process.stdout
        with contextlib.suppress(BrokenPipeError):  # it died already, which `result` will say
            self.stdin.write(json.dumps(jobs) + "\n")
            self.stdin.flush()  # and stays open: its end tells the worker that the runner is gone

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.events.close()
        self.process.wait()

    def result(self, on_progress: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """The next job's result, or None when the process ended before it gave one."""
        for line in self.events:
            if not line.endswith("\n"):
                return None  # torn by a kill in the middle of the write
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "result":
                return event
            on_progress(event)
        return None

    def failure(self) -> dict[str, Any]:
        """What to record for the job whose result never came."""
        code = self.process.wait()
        why = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        detail = {"signal": -code} if code < 0 else {}
        return {"status": "failed", "reason": f"its process {why}; its output is in {self.log}", "detail": detail}

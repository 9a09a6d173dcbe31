"""Progress of a run: bars with losses and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from effbench.study.record import Record

SECONDS_BETWEEN_LINES = 15.0
HIDDEN = ("event", "done", "total", "phase")


class ProgressDisplay:
    """Use as a context manager around a run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()
        self.printed: dict[str, float] = {}
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("left, {task.fields[shown]}", table_column=Column(no_wrap=True, ratio=1)),  # cut when narrow
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> ProgressDisplay:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def started(self, title: str) -> None:
        """A task begins."""
        self.bars[title] = self.progress.add_task(title, total=1, shown="")
        if not self.console.is_terminal:
            self._line(f"{title}: started")

    def progressed(self, title: str, event: dict[str, Any]) -> None:
        """A task reports how far it is, and whatever else it wants shown."""
        phase = event.get("phase", "")
        shown = " ".join(f"{name} {_number(value)}" for name, value in event.items() if name not in HIDDEN)
        done, total = event.get("done", 0), event.get("total", 1)
        self.progress.update(
            self.bars[title], completed=done, total=total, shown=f"{phase} {shown}".strip(), refresh=False
        )
        if not self.console.is_terminal and time.monotonic() - self.printed.get(title, 0) > SECONDS_BETWEEN_LINES:
            self._line(f"{title}: {phase} {done}/{total} {shown}".replace(":  ", ": "))
            self.printed[title] = time.monotonic()

    def finished(self, title: str, record: Record) -> None:
        """A task ended; the line stays."""
        if (bar := self.bars.pop(title, None)) is not None:  # a skipped task never started
            self.progress.remove_task(bar)
        reason = f" ({record.reason})" if record.reason else ""
        self._line(f"{title}: {record.status}{reason}, {record.seconds:.1f} s")

    def _line(self, text: str) -> None:
        self.progress.console.print(
            f"[{time.monotonic() - self.began:5.0f} s] {text}", markup=False, highlight=False, soft_wrap=True
        )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

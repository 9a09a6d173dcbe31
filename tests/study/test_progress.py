"""What a user sees of a run."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from effbench.study import progress
from effbench.study.progress import ProgressDisplay
from effbench.study.record import Record


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


def test_a_log_file_gets_a_line_when_a_task_starts_and_ends(
    output: io.StringIO, make_record: Callable[..., Record]
) -> None:
    with ProgressDisplay(Console(file=output, width=200)) as display:
        display.started("fpn [quality]")
        display.progressed("fpn [quality]", {"event": "progress", "done": 1, "total": 800, "phase": "training"})
        display.finished("fpn [quality]", make_record(status="failed", reason="no [room]", seconds=12.34))
    text = output.getvalue()
    assert "fpn [quality]: started" in text
    assert "fpn [quality]: failed (no [room]), 12.3 s" in text


def test_and_one_now_and_then_while_it_runs(output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with ProgressDisplay(Console(file=output, width=200)) as display:
        display.started("fpn")
        for step in range(1, 101):
            clock[0] += 1
            event = {"event": "progress", "done": step, "total": 100, "phase": "training", "mask": 0.123456}
            display.progressed("fpn", event)
    lines = [line for line in output.getvalue().splitlines() if "/100" in line]
    assert 4 <= len(lines) <= 8, "of a hundred events in a hundred seconds"
    assert "training" in lines[0] and "mask 0.1235" in lines[0]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_task_that_never_started_has_its_line_too(
    terminal: bool, output: io.StringIO, make_record: Callable[..., Record]
) -> None:
    with ProgressDisplay(Console(file=output, width=200, force_terminal=terminal, color_system=None)) as display:
        display.finished("fpn [latency]", make_record(status="skipped", reason="no CUDA device", seconds=0.0))
    assert "fpn [latency]: skipped (no CUDA device), 0.0 s" in output.getvalue()


def test_a_terminal_gets_a_bar_with_losses_and_time_left(
    output: io.StringIO, make_record: Callable[..., Record]
) -> None:
    with ProgressDisplay(Console(file=output, width=160, force_terminal=True, color_system=None)) as display:
        display.started("fpn")
        display.progressed("fpn", {"event": "progress", "done": 3, "total": 10, "phase": "training", "mask": 0.5})
        display.progress.refresh()
        display.finished("fpn", make_record())
    text = output.getvalue()
    assert all(part in text for part in ("3/10", "left, training mask 0.5"))
    assert "fpn: ok, 1.5 s" in text


def test_a_narrow_terminal_cuts_the_losses_and_nothing_else(output: io.StringIO) -> None:
    losses = {f"loss {i}": 0.5 for i in range(20)}
    with ProgressDisplay(Console(file=output, width=80, force_terminal=True, color_system=None)) as display:
        display.started("mask2former quality")
        display.progressed("mask2former quality", {"event": "progress", "done": 3, "total": 10, **losses})
        display.progress.refresh()
        (last,) = [line for line in output.getvalue().split("\r") if "3/10" in line]
    assert "mask2former quality" in last and "left, loss 0 0.5" in last
    assert "loss 19" not in last and "\n" not in last.strip("\n")

"""The runner's end of the pipes, with a shell script at the other end: whatever a dying process leaves in them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.study.process import WorkerProcess

Start = Callable[..., WorkerProcess]
LARGE = [{"filler": "x" * 1_000_000}]
"""More than a pipe holds."""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A process that runs `script`, and what it is asked to do."""

    def make(script: str, jobs: list[dict[str, Any]] | None = None) -> WorkerProcess:
        program = tmp_path / "worker"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
        return WorkerProcess(jobs or [{}], 1, tmp_path / "log.txt")

    return make


def nothing(_: dict[str, Any]) -> None:
    """Shows no progress."""


def say(text: str) -> str:
    return f"printf '%s' '{text}'"


PROGRESS = '{"event": "progress", "done": 1}\n'
RESULT = '{"event": "result", "status": "ok", "samples": [12]}\n'


def test_progress_is_passed_on_and_results_come_one_by_one(start: Start) -> None:
    seen: list[dict[str, Any]] = []
    with start(say(PROGRESS + RESULT + PROGRESS + PROGRESS + RESULT.replace("12", "13"))) as process:
        first = process.result(seen.append)
        assert first is not None and first["samples"] == [12]
        assert seen == [{"event": "progress", "done": 1}]
        second = process.result(seen.append)
        assert second is not None and second["samples"] == [13]
        assert len(seen) == 3
        assert process.result(seen.append) is None


@pytest.mark.parametrize("torn", ["", '{"event": "resu', PROGRESS[:-1], RESULT[:-3], RESULT[:-1]])
def test_a_line_without_its_end_is_no_result(torn: str, start: Start) -> None:
    """Killed in the middle of the write; whether what arrived can be read by chance makes no difference."""
    seen: list[dict[str, Any]] = []
    with start(f"{say(PROGRESS + torn)}; kill -9 $$") as process:
        assert process.result(seen.append) is None
        failure = process.failure()
    assert len(seen) == 1
    assert failure["status"] == "failed"
    assert failure["detail"] == {"signal": 9}
    assert "was ended by signal 9" in failure["reason"]


def test_a_process_that_gives_up_by_itself_was_not_killed(start: Start, tmp_path: Path) -> None:
    with start("echo no memory for a thread >&2; exit 3") as process:
        assert process.result(nothing) is None
        failure = process.failure()
    assert failure["detail"] == {}
    assert failure["reason"] == f"its process ended with code 3; its output is in {tmp_path / 'log.txt'}"
    assert (tmp_path / "log.txt").read_text() == "no memory for a thread\n"


def test_a_process_that_dies_before_it_reads_its_jobs(start: Start) -> None:
    with start("kill -9 $$", LARGE) as process:
        assert process.result(nothing) is None
        assert process.failure()["detail"] == {"signal": 9}


def test_leaving_ends_the_process(start: Start) -> None:
    """It waits for its input to end, as the worker does."""
    with start("cat > /dev/null") as process:
        assert process.process.poll() is None
    assert process.process.poll() == 0


def test_a_second_process_adds_to_the_log(start: Start, tmp_path: Path) -> None:
    for text in ("one", "two"):
        with start(f"echo {text} >&2") as process:
            assert process.result(nothing) is None
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"

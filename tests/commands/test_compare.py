"""`effbench compare`: its table, its JSON, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer

from effbench.commands.compare import compare
from effbench.errors import InputError
from effbench.study.record import Record

Compare = Callable[..., tuple[int, str]]
QUICK, SLOW = [1.0, 1.001, 0.999, 1.002, 0.998, 1.0], [1.3, 1.301, 1.299, 1.302, 1.298, 1.3]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Compare:
    """The command in this process: what it ends with, and what it prints."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Path, **options: Any) -> tuple[int, str]:
        given = {"size": 5.0, "floor": 2.0, "counts": False, "results": tmp_path / "results", "as_json": False}
        try:
            compare(*arguments, **{**given, **options})
            code = 0
        except typer.Exit as ended:
            code = ended.exit_code
        return code, capsys.readouterr().out

    return run


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "cell": {"encoder": "fpn", "size": "64x64"},
        "cell_id": "0",
        "probe": "latency",
        "probe_version": "1",
        "unit": "s",
        "samples": [1.0],
        "status": "ok",
        "source": "a",
        "environment": {"torch": "2.12.0"},
        "host": "aabbccddeeff",
        "started_at": "2026-01-02T03:04:05+00:00",
        "seconds": 1.0,
    }
    return Record(**{**fields, **changes})


def written(path: Path, records: Iterable[Record]) -> Path:
    path.write_text("".join(json.dumps(asdict(r)) + "\n" for r in records))
    return path


def side(path: Path, times: Iterable[float], macs: float = 7.0, **changes: Any) -> Path:
    """A records file with these processes and one count."""
    timed = [record(samples=[value], **changes) for value in times]
    return written(path, [*timed, record(probe="macs", unit="MAC", samples=[macs], **changes)])


@pytest.mark.parametrize(
    ("times", "macs", "code", "word"),
    [
        (QUICK, 7.0, 0, "same"),
        (SLOW, 7.0, 1, "slower"),
        (QUICK, 8.0, 1, "changed: fpn at 64x64: macs: 7.0 MAC before, 8.0 after"),
        (QUICK[:3], 7.0, 3, "a side has 3 of the 5 processes that a verdict takes"),
    ],
)
def test_what_it_ends_with(
    times: list[float], macs: float, code: int, word: str, call: Compare, tmp_path: Path
) -> None:
    ended, out = call(side(tmp_path / "a.jsonl", QUICK), side(tmp_path / "b.jsonl", times, macs))
    assert ended == code
    assert word in out


def test_the_last_line_is_json(call: Compare, tmp_path: Path) -> None:
    _, out = call(side(tmp_path / "a.jsonl", QUICK), side(tmp_path / "b.jsonl", SLOW), as_json=True)
    answer = json.loads(out.splitlines()[-1])
    time, count = answer["changes"]
    assert answer["exit_code"] == 1
    assert (time["verdict"], time["before"], time["after"], time["floor"]) == ("slower", 1.0, 1.3, 0.02)
    assert time["ratio"]["ratio"] == pytest.approx(1.3)
    assert time["ratio"]["low"] <= time["ratio"]["ratio"] <= time["ratio"]["high"]
    assert time["processes"] == [6, 6] and time["interleaved"] is False
    assert (count["verdict"], count["before"], count["ratio"]) == ("equal", 7.0, None)


def test_without_a_noise_floor_no_time_is_called_slower_and_it_says_so(call: Compare, tmp_path: Path) -> None:
    ended, out = call(side(tmp_path / "a.jsonl", QUICK), side(tmp_path / "b.jsonl", SLOW), floor=None)
    assert ended == 3
    assert "No noise floor of this machine" in out and "effbench aa" in out


def test_other_environments_are_refused_but_counts_can_be_compared(call: Compare, tmp_path: Path) -> None:
    before = side(tmp_path / "a.jsonl", QUICK)
    after = side(tmp_path / "b.jsonl", SLOW, environment={"torch": "2.13.0"})
    with pytest.raises(InputError, match=r"torch \(2.12.0 before, 2.13.0 after\)"):
        call(before, after)
    ended, out = call(before, after, counts=True)
    assert ended == 0
    assert "1 of 1 are equal" in out


def test_nothing_in_common(call: Compare, tmp_path: Path) -> None:
    other = written(tmp_path / "b.jsonl", [record(cell={"encoder": "rt"})])
    ended, out = call(side(tmp_path / "a.jsonl", QUICK), other)
    assert ended == 4
    assert "Nothing to compare" in out and "not compared: rt: latency: only after has it" in out


def test_a_benchmark_s_name_keeps_its_brackets(call: Compare, tmp_path: Path) -> None:
    for name in ("a", "b"):
        benchmarks = [{"fullname": "test_forward[fpn-128]", "stats": {"median": 1.0}}]
        content = {"machine_info": {}, "datetime": "2026", "benchmarks": benchmarks}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    ended, out = call(tmp_path / "a.json", tmp_path / "b.json")
    assert ended == 3
    assert "test_forward[fpn-128]" in out

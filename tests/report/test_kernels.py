"""The operator's part of a report: tables from records, and nothing for other studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.report import kernels
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.suites.kernels import Call

Make = Callable[..., Record]


def accuracy(error: float | None, right: bool) -> dict[str, Any]:
    return {"output": {"error": error, "tolerance": 3e-4, "right": right}}


@pytest.fixture
def make(exit_answer: Callable[..., Record]) -> Make:
    """A record of an implementation that takes so many us, hot."""

    def record(
        name: str,
        us: float,
        call: Call = Call(),  # noqa: B008 (frozen)
        op: str = "plain",
        direction: str = "forward",
        scope: str | None = None,
        device: Sequence[float] | None = None,
        others: Mapping[str, Any] | None = None,
        others_busy: float | None = None,
        ceilings: Mapping[str, float] | None = None,
        **options: Any,
    ) -> Record:
        from effbench.study.suite import Task

        how = {"implementation": name, "op": op, "direction": direction, "temperatures": ("hot",), **options}
        cell = call.cell("cpu")
        task = Task(replace(cell, options={**cell.options, **how}), "kernel", name)
        samples = [us * 1e-6 * (1 + 0.01 * (i - 5)) for i in range(11)]
        times = {"hot": {"clock": "device" if device else "host", "host": samples, "device": device}, **(others or {})}
        detail = {
            "scope": scope or op,
            "accuracy": accuracy(2e-5, True),
            "bytes": {"compulsory": 70_000_000, "gathered": 1_000_000_000},
            "rows": {"gathered": 8_400_000, "added": 0 if direction == "forward" else 8_400_000},
            "ceilings": {"copy": 4e12, "cached_copy": 7e12, **(ceilings or {})},
            "times": times,
            "load": {"other_cores": others_busy},
        }
        return exit_answer(task, detail, samples)  # type: ignore[no-any-return]

    return record


def rows(records: Sequence[Record]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = kernels.times_table(list(kernels.timed(records))).to_dict("records")
    return found


def test_times_and_rates(make: Make) -> None:
    (row,) = rows([make("cpu", 100.0)])
    assert row["call"] == "coco 800x1333, batch 1, float32, Q=21950, realistic"
    assert (row["operator"], row["implementation"], row["hot, us"]) == ("plain forward", "cpu", "100.0")
    assert (row["GB/s"], row["of a copy"], row["gathered GB/s"]) == ("700.0", "17.5%", "10000.0")
    assert row["/ best peer"] == row["host / device"] == "-"


def test_ours_are_held_against_the_best_peer_on_the_same_inputs(make: Make) -> None:
    found = rows(
        [
            make("triton", 50.0),
            make("reference", 400.0),
            make("roulbac", 125.0),
            make("cpu", 25.0),
            make("roulbac", 10.0, op="fused", scope="chain"),
            make("roulbac", 10.0, direction="both"),
            make("roulbac", 10.0, Call(batch=2)),
        ]
    )
    named = {row["implementation"]: row for row in found if row["operator"] == "plain forward"}
    first = [row["implementation"] for row in found[:4]]
    assert first == ["cpu", "triton", "roulbac", "reference"], "the fastest first, within one comparison"
    assert named["triton"]["/ best peer"] == "0.40 (roulbac)" and named["cpu"]["/ best peer"] == "0.20 (roulbac)"
    assert named["reference"]["/ best peer"] == "-"
    assert [row["implementation"] for row in found if row["operator"] == "fused forward"] == ["roulbac (chain)"]


def test_the_devices_time_counts_and_other_temperatures_stand_beside(make: Make) -> None:
    cold = {"clock": "device", "host": [3e-4] * 11, "device": [8e-5] * 11}
    (row,) = rows([make("triton", 90.0, device=[4.5e-5] * 11, others={"cold": cold, "graph": {"failed": "no"}})])
    assert (row["hot, us"], row["cold, us"], row["host / device"]) == ("45.0", "80.0", "2.00")
    assert "graph, us" not in row


def test_processes_are_put_together(make: Make) -> None:
    (row,) = rows([make("cpu", us, replica=number) for number, us in enumerate((100.0, 120.0, 400.0))])
    assert row["hot, us"] == "120.0"


def test_neighbours_are_shown(make: Make) -> None:
    (row,) = rows([make("cpu", 100.0, others_busy=busy, replica=n) for n, busy in enumerate((0.1, 1.32))])
    assert row["cores of others"] == "1.3", "the most of all processes"
    assert "cores of others" not in rows([make("cpu", 100.0)])[0]


def test_what_is_wrong_stands_in_the_table_of_the_check_alone(make: Make, tmp_path: Path) -> None:
    wrong = make("half", 1.0)
    wrong = replace(wrong, status="invalid", samples=[], detail={"accuracy": accuracy(0.41, False)})
    no_number = replace(wrong, detail={"accuracy": accuracy(None, False)})
    text = "\n\n".join(kernels.sections([make("cpu", 100.0), wrong, no_number], tmp_path))
    times, check = text.split("## Right or wrong")
    assert "half" not in times
    assert "**wrong**" in check and "4.1e-01 (at most 3.0e-04)" in check and "no number (at most" in check
    assert check.count("| right") == 1


def test_a_time_is_held_against_its_rows_alone(make: Make, tmp_path: Path) -> None:
    """Forward: 8.4 M rows at 200 G/s are 42 us, more than the copy's 17.5; both: additions come on top."""
    rates = {"rows_near": 2e11, "rows_far": 5e10, "rows_added": 2e10}
    forward, both = rows(
        [make("triton", 84.0, ceilings=rates), make("triton", 924.0, direction="both", ceilings=rates)]
    )
    assert (forward["bound, us"], forward["of bound"]) == ("42.0", "50%")
    assert (both["bound, us"], both["of bound"]) == ("462.0", "50%")
    copied = {**rates, "rows_near": 1e15}
    assert rows([make("triton", 35.0, ceilings=copied)])[0]["bound, us"] == "17.5"
    text = "\n".join(kernels.sections([make("triton", 84.0, ceilings=rates)], tmp_path))
    assert "## Rows in the same processes" in text and "200.0 to 200.0" in text and "20.0 to 20.0" in text
    without = "\n".join(kernels.sections([make("cpu", 84.0)], tmp_path))
    assert "Rows in the same" not in without and "bound, us" not in without


def test_copies_are_shown_by_the_size_of_the_value(make: Make) -> None:
    found = kernels.ceilings_table(list(kernels.timed([make("cpu", 1.0), make("cpu", 1.0, Call(batch=2))])))
    assert list(found["copy of a buffer"]) == [
        "larger than caches",
        "as large as the value of coco 800x1333, batch 1, float32",
        "as large as the value of coco 800x1333, batch 2, float32",
    ]
    assert list(found["GB/s"]) == ["4000.0 to 4000.0", "7000.0 to 7000.0", "7000.0 to 7000.0"]


def test_the_figure_is_drawn_where_there_are_times(make: Make, tmp_path: Path) -> None:
    records = [
        make(name, us, call, direction=direction)
        for name, us in (("cpu", 100.0), ("reference", 900.0))
        for call in (Call(), Call(queries=300), Call("cityscapes"))
        for direction in ("forward", "both")
    ]
    first, *_ = kernels.sections(records, tmp_path)
    assert first == f"![Time of the operator by implementation]({kernels.FIGURE})"
    assert (tmp_path / kernels.FIGURE).stat().st_size > 10_000
    assert not any(kernels.sections([], tmp_path)), "another study has none of this"
    assert not (tmp_path / kernels.FIGURE).exists(), "an old one is removed"


def test_records_of_other_probes_say_nothing(make: Make, tmp_path: Path) -> None:
    other = replace(make("cpu", 1.0), probe="latency")
    assert not any(kernels.sections([other], tmp_path))
    assert kernels.call(Cell.from_json(other.cell)).startswith("coco")

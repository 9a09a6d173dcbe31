"""The table of the whole encoder: ratios to others' code on the same maps, and no time for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from effbench.report import whole_encoder
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Task

Make = Callable[..., Record]


@pytest.fixture
def make(exit_answer: Callable[..., Record]) -> Make:
    """A record of an encoder that takes so many ms."""

    def record(
        name: str,
        ms: float,
        ran: str,
        dtype: str = "float32",
        image: str = "coco",
        waits: int | None = None,
        **how: Any,
    ) -> Record:
        options = {"implementation": name, "samples": 11, **how}
        cell = Cell("mask2former", "r50", image, "800x1344", 133, 100, dtype=dtype, options=options)
        errors = {"mask_features": {"rms": 2e-6, "largest": 1e-5}, "res5": {"rms": 4e-6, "largest": 1e-5}}
        detail = {"outputs": errors, "limit": 1e-4, "synchronisations": waits}
        samples = [ms / 1000 * (1 + 0.01 * (i - 5)) for i in range(11)]
        made = exit_answer(Task(cell, "encoder", name), detail, samples)
        return replace(made, implementation={"encoder": name, "ms_deform_attn": ran})

    return record


def test_ours_are_held_against_the_fastest_of_theirs_in_float32(make: Make) -> None:
    records = [
        make("transformers", 900.0, "transformers"),
        make("transformers", 600.0, "cuda_op", op="cuda_op"),
        make("transformers", 400.0, "triton", op="triton"),
        make("effbench", 300.0, "triton"),
        make("effbench", 100.0, "triton", dtype="bfloat16", mode="graph", channels_last=True),
        make("transformers", 50.0, "transformers", dtype="bfloat16"),
        make("effbench", 80.0, "triton", image="cityscapes"),
    ]
    found = whole_encoder.table(records).to_dict("records")
    rows = {(row["image"], row["form"], row["operator"]): row for row in found}
    coco = "coco 800x1344, batch 1"
    (ours,) = [
        row for row in found if row["encoder"] == "effbench" and row["form"] == "cpu, float32" and row["image"] == coco
    ]
    assert ours["times faster"] == "2.00"
    assert rows[coco, "cpu, float32", "cuda_op"]["times faster"] == "1.00"
    assert rows[coco, "cpu, float32", "transformers"]["times faster"] == "0.67"
    assert rows[coco, "cpu, bfloat16, channels last, graph", "triton"] == {
        "image": coco,
        "encoder": "effbench",
        "operator": "triton",
        "form": "cpu, bfloat16, channels last, graph",
        "ms": "100.00",
        "times faster": "6.00",
        "error": "2.0e-06 / 4.0e-06 (at most 1e-04)",
    }
    assert rows["cityscapes 800x1344, batch 1", "cpu, float32", "triton"]["times faster"] == "-"
    theirs = [row for row in found if (row["encoder"], row["operator"]) == ("transformers", "triton")]
    assert [row["times faster"] for row in theirs] == ["1.50"], "with our operator it is no baseline"
    shown = [row["ms"] for row in found if row["image"] == coco]
    assert shown == ["50.00", "100.00", "300.00", "400.00", "600.00", "900.00"], "fastest first"


def test_what_is_wrong_is_shown_and_nothing_is_held_against_it(make: Make) -> None:
    wrong = replace(make("transformers", 1.0, "transformers"), status="invalid", samples=[], reason="wrong")
    rows = whole_encoder.table([wrong, make("effbench", 300.0, "cpu")]).to_dict("records")
    assert [(row["ms"], row["times faster"]) for row in rows] == [("300.00", "-"), ("**wrong**", "-")]


def test_waits_are_shown_where_there_is_a_device_to_wait_for(make: Make) -> None:
    assert "waits" not in whole_encoder.table([make("effbench", 1.0, "cpu")])
    (row,) = whole_encoder.table([make("transformers", 1.0, "cuda_op", waits=6)]).to_dict("records")
    assert row["waits"] == "6"


def test_one_process_that_is_wrong_makes_the_place_wrong(make: Make) -> None:
    right, wrong = (make("effbench", 1.0, "cpu", replica=i) for i in range(2))
    detail = {**wrong.detail, "outputs": {"mask_features": {"rms": 0.5, "largest": 1.0}}}
    wrong = replace(wrong, status="invalid", samples=[], reason="wrong", detail=detail)
    (row,) = whole_encoder.table([right, wrong]).to_dict("records")
    assert row["ms"] == "**wrong**" and row["error"].startswith("5.0e-01")


def test_other_studies_have_no_such_section(make: Make) -> None:
    assert whole_encoder.sections([replace(make("effbench", 1.0, "cpu"), probe="latency")]) == []
    heading, _, table = whole_encoder.sections([make("effbench", 1.0, "cpu")])
    assert heading == "## The whole encoder" and "| effbench" in table

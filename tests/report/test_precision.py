"""The table of what fewer bits change, from made-up records."""

from __future__ import annotations

from collections.abc import Callable

from effbench.report.precision import precision_table
from effbench.study.record import Record
from effbench.study.suite import Plan


def test_every_condition_has_a_row_with_all_maps(full: Plan, answer: Callable[..., Record]) -> None:
    rows = precision_table([answer(task) for task in full.tasks if task.probe == "precision"])
    assert set(rows["conditions"]) == {"cpu, float32", "cpu, bfloat16"}
    assert rows.loc[0, ["system", "input"]].tolist() == ["mask2former", "512x512"]
    assert set(rows["mask features"]) == {"1.0e-03 (1.0e-02)"} == set(rows["res3"])
    assert precision_table([]).empty

"""Tables of what early exit costs, from made-up records whose numbers can be recognised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from effbench.report import early_exit_costs
from effbench.study.record import Record
from effbench.study.suite import Plan, Published, Task
from effbench.suites import eco as suite

Answer = Callable[..., Record]


def tasks_of(plan: Plan, probe: str, system: str = suite.M2F.label) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe and task.cell.system == system]


def ledger(speed: float) -> dict[str, Any]:
    """A full pass that takes so many times what it should, in one process."""
    mean = {"layers": 3.0, "full_layers": 6.0, "macs": 34e6, "full_macs": 58e6, "pq": 50.0, "full_pq": 51.0}
    mean |= {"encoder_s": 0.004, "full_encoder_s": 0.007, "total_s": 0.014, "full_total_s": 0.0175 * speed}
    mean |= {"total_macs": 76e6, "full_total_macs": 100e6}
    batch = {"gated_s": [0.04] * 3, "full_s": [0.08 * speed] * 3, "layers_per_image": 3.0, "exits": [2, 4]}
    return {"mean": mean, "gate": {"beta": suite.BETA}, "gate_s": [2e-5], "images": [{}] * 2, "batches": {"8": batch}}


def test_the_ledger_is_summed_up_over_its_processes(eco: Plan, exit_answer: Answer) -> None:
    tasks = [task for task in tasks_of(eco, "ledger") if task.cell.options["gate"]["beta"] == suite.BETA]
    records = [exit_answer(task, ledger(speed)) for task, speed in zip(tasks, (1.0, 0.8, 1.25), strict=True)]
    (row,) = early_exit_costs.ledger_table(records).to_dict("records")
    assert row["layers that ran"] == "3.00 of 6" and row["images"] == "2" and row["processes"] == "3"
    assert row["encoder MACs saved"] == "41.4%" and row["encoder ms saved"] == "42.9% (42.9 to 42.9)"
    assert row["pass ms, gated / full"] == "14.00 / 17.50" and row["pass ms saved"] == "20.0% (0.0 to 36.0)"
    assert row["gate, ms"] == "0.020" and row["pass MACs saved"] == "24.0%"
    (row,) = early_exit_costs.batches_table(records).to_dict("records")
    assert row["encoder ms per image, gated / full"] == "5.00 / 10.00" and row["saved"] == "50.0% (37.5 to 60.0)"
    assert early_exit_costs.ledger_table(records[:1]).loc[0, "pass ms saved"] == "20.0%", "one process has no spread"


def test_what_the_layers_left_out_take_explains_what_is_saved(eco: Plan, exit_answer: Answer) -> None:
    """3 ms and the gate's 0.02 for 24 million MACs, where the whole has 7 ms for 58 million."""
    record = exit_answer(tasks_of(eco, "ledger")[0], ledger(1.0))
    (row,) = early_exit_costs.rates_table([record]).to_dict("records")
    assert row["ms per GMAC, whole encoder"] == f"{7 / 0.058:.1f}"
    assert row["of the layers left out"] == f"{3.02 / 0.024:.1f}"
    assert (row["MACs saved"], row["ms saved"], row["the gate takes"]) == ("41.4%", "42.9%", "0.3%")


def test_the_steps_stand_side_by_side(eco: Plan, exit_answer: Answer) -> None:
    (derived,) = tasks_of(eco, "derivation")
    trained = next(task for task in tasks_of(eco, "exits") if task.cell.id == derived.cell.id)
    records = [
        exit_answer(derived, {"images": {"train": 1000}}, [12.0]),
        exit_answer(trained, {"seconds": {"training": 345.0}}),
        *(exit_answer(task, {}, [0.25]) for task in tasks_of(eco, "gate")[:3]),
    ]
    (row,) = early_exit_costs.steps_table(records).to_dict("records")
    assert (row["step A, s"], row["step B, s"], row["its images"], row["step C, s"]) == ("345", "12", "1000", "0.2")
    assert row["gates"] == "3" and row["its training steps"] == str(suite.RECIPE["steps"])
    assert early_exit_costs.steps_table(records[:1]).loc[0, ["step A, s", "step C, s"]].tolist() == ["-", "-"]


def test_printed_costs_imply_a_mean_exit(eco: Plan, exit_answer: Answer) -> None:
    counts = {2: 155.26, 3: 186.73, 4: 218.20, 5: 249.66, 6: 281.13}
    records = [
        exit_answer(task, {"papers": {"encoder": 1e9 * counts[task.cell.options["exit"]]}})
        for task in tasks_of(eco, "macs")
        if (task.cell.backbone, task.cell.size) == ("swin_t", "1024x2048")
    ]
    rows = early_exit_costs.implied_table(records, suite.SUITE.published)
    assert set(rows["backbone"]) == {"swin_t"} and set(rows["input"]) == {"1024x2048"}
    implied = dict(zip(rows["printed GFLOPs"], rows["implied mean exit"], strict=True))
    assert implied["250.80"] == "5.04" and implied["182.95"] == "2.88" and implied["155.26"] == "2.00"
    other = [replace(record, status="failed") for record in records]
    assert early_exit_costs.implied_table(other, suite.SUITE.published).empty
    ours = Published("early_exit(base=mask2former)", "swin_t", "1024x2048", "gmacs_total", 1.0, "elsewhere")
    assert early_exit_costs.implied_table(records, [ours]).empty


@pytest.mark.parametrize(("gmacs", "expected"), [(10.0, 2.0), (30.0, 4.0), (25.0, 3.5)])
def test_exits_lie_on_a_line(gmacs: float, expected: float) -> None:
    assert early_exit_costs.implied_exit(gmacs, {2: 10.0, 4: 30.0}) == pytest.approx(expected)

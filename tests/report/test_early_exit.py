"""Tables of early exit, from made-up records whose numbers can be recognised."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from effbench.report import early_exit, page
from effbench.study.record import Record
from effbench.study.suite import Options, Plan, Published, Task, find_suite
from effbench.suites import eco

Answer = Callable[[Task, dict[str, Any]], Record]


@pytest.fixture(scope="module")
def plan() -> Plan:
    return find_suite("eco").plan(Options())


@pytest.fixture
def answer() -> Answer:
    def make(task: Task, detail: dict[str, Any]) -> Record:
        return Record(
            cell=task.cell.to_json(),
            cell_id=task.cell.id,
            probe=task.probe,
            probe_version="1",
            unit="",
            samples=[1.5],
            status="ok",
            source="0" * 16,
            environment={},
            host="a" * 12,
            started_at="2026-01-02T03:04:05+00:00",
            seconds=2.0,
            detail=detail,
        )

    return make


def tasks_of(plan: Plan, probe: str, system: str = eco.M2F.label) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe and task.cell.system == system]


def estimate(value: float, spread: float = 1.0) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def gate_detail(recipe: dict[str, Any], over_random: float = 0.5, share: float | None = 0.2) -> dict[str, Any]:
    images = {"mean": 3.4, "images": {"2": 100, "4": 200}}
    value = {
        "mean_exit": 3.4,
        "gate": estimate(52.0),
        "random": estimate(51.5),
        "oracle": estimate(54.0),
        "fixed": {str(k): estimate(50.0 + k / 10) for k in (2, 3, 4)},
        "over_random": estimate(over_random),
        "over_fixed": {"2": estimate(3.0), "3": estimate(2.0), "4": estimate(-1.5)},
        "over_mix": estimate(0.5),
        "share": None if share is None else estimate(share, 0.1),
    }
    quality = {group: {"pq": pq} for group, pq in (("all", 52.0), ("things", 30.0), ("stuff", 90.0))}
    full = {"k": 0, "loss": "hard_ce", **recipe}
    return {
        "recipe": full,
        "target": {"train": {"mean": 3.1, "images": {}}},
        "chosen": {"train": images, "val": images},
        "quality": quality,
        "value": {"dataset": value, "image": value},
    }


def test_exits_stand_beside_each_other_over_seeds(plan: Plan, answer: Answer) -> None:
    records = []
    for task in tasks_of(plan, "exits"):
        recipe = task.cell.options["recipe"]
        base = {"weighted": 50, "uniform": 48, "last": 10}[recipe["exit_loss"]] + recipe["seed"]
        exits = {str(k): {"all": {"pq": base + k}} for k in eco.EXITS[eco.M2F]}
        records.append(answer(task, {"exits": exits, "recipe": recipe}))
    rows = early_exit.exits_table(records).set_index("trained")
    assert (
        rows.loc["weighted", "exit 2"] == "52.5 (52.0 to 53.0)" and rows.loc["last", "exit 6"] == "16.5 (16.0 to 17.0)"
    )
    assert set(rows["seeds"]) == {"2"}
    assert early_exit.best_exits_table(records).empty, "nothing was derived"


def test_best_exits_stand_with_what_exits_are_worth(plan: Plan, answer: Answer) -> None:
    (task,) = tasks_of(plan, "derivation")
    counts, mean = {"2": 30, "6": 10}, {"2": 50.0, "6": 52.5}
    rows = early_exit.best_exits_table([answer(task, {"best_exits": {"val": counts}, "mean_pq": {"val": mean}})])
    assert rows.loc[0].tolist() == [eco.M2F.label, "val, 40", "75% (50.0)", "25% (52.5)"]


def test_gates_and_what_they_are_worth(plan: Plan, answer: Answer) -> None:
    records = [answer(task, gate_detail(dict(task.cell.options["gate"]))) for task in tasks_of(plan, "gate")]
    rows = early_exit.gates_table(records)
    assert len(rows) == len(eco.BETAS) + 2 + 3
    assert rows.loc[0, ["beta", "K", "loss", "gate, val", "PQ all"]].tolist() == ["0", "all", "hard_ce", "3.40", "52.0"]
    assert rows.loc[0, "of images at each exit"] == "2: 100, 4: 200"
    worth = early_exit.value_table(records)
    assert worth.loc[0, "minus random exits"] == "+0.50 (-0.50 to +1.50)"
    assert worth.loc[0, "minus the neighbouring fixed exits"] == "+0.50 (-0.50 to +1.50)"
    assert worth.loc[0, ["better than fixed exits", "worse than fixed exits"]].tolist() == ["2, 3", "4"]
    assert worth.loc[0, "share of the oracle's gain"] == "+20% (+10% to +30%)"


def test_the_verdict_counts_what_the_intervals_say(plan: Plan, answer: Answer) -> None:
    tasks = tasks_of(plan, "gate")[:4]
    details = [
        gate_detail({"beta": 0.0}),
        gate_detail({"beta": 0.0}, over_random=2.0),
        gate_detail({"beta": 0.0}, -2.0),
    ]
    details.append(gate_detail({"beta": 0.0}, share=None))
    said = early_exit.verdict([answer(task, detail) for task, detail in zip(tasks, details, strict=True)])
    assert said == (
        f"{eco.M2F.label}, 4 gates: 1 better and 1 worse than the same exits dealt by chance; 0 better and 0 worse "
        "than the fixed exits beside their mean depth; 3 win a share of the oracle's gain."
    )
    assert early_exit.verdict([]) == ""


def test_the_ledger_is_summed_up(plan: Plan, answer: Answer) -> None:
    (task, *_) = tasks_of(plan, "ledger")
    mean = {"layers": 3.0, "full_layers": 6.0, "macs": 60.0, "full_macs": 100.0, "pq": 50.0, "full_pq": 51.0}
    mean |= {"encoder_s": 0.006, "full_encoder_s": 0.010, "total_s": 0.016, "full_total_s": 0.020}
    batch = {"gated_s": [0.04] * 3, "full_s": [0.08] * 3, "layers_per_image": 3.0, "exits": [2, 4]}
    detail = {"mean": mean, "gate": {"beta": 0.001}, "gate_s": [2e-5], "images": [{}] * 7, "batches": {"8": batch}}
    (row,) = early_exit.ledger_table([answer(task, detail)]).to_dict("records")
    assert row["layers that ran"] == "3.00 of 6" and row["images"] == "7"
    assert (row["encoder MACs saved"], row["encoder ms saved"], row["pass ms saved"]) == ("40.0%", "40.0%", "20.0%")
    assert row["gate, ms"] == "0.020"
    (row,) = early_exit.batches_table([answer(task, detail)]).to_dict("records")
    assert row["encoder ms per image, gated / full"] == "5.00 / 10.00" and row["saved"] == "50.0%"


def test_the_page_and_its_figure_can_be_made(plan: Plan, answer: Answer, tmp_path: Path) -> None:
    records = []
    for task in plan.tasks:
        options = task.cell.options
        exits = eco.EXITS.get(next((s for s in eco.SYSTEMS if s.label == task.cell.system), eco.M2F))
        if task.probe == "macs":
            parts = {
                "backbone": 1e9,
                "encoder": 1e9 * options["exit"],
                "decoder": 1e9,
                "post_processing": 0,
                "other": 0,
            }
            parts["total"] = sum(parts.values())
            records.append(answer(task, {"papers": parts, "complete": parts, "left_out": {}}))
        elif task.probe == "exits":
            found = {str(k): {"all": {"pq": 50.0 + k}} for k in exits}
            records.append(answer(task, {"exits": found, "recipe": options["recipe"]}))
        elif task.probe == "derivation":
            counts, mean = {str(k): 10 for k in exits}, {str(k): 50.0 + k for k in exits}
            records.append(answer(task, {"best_exits": {"train": counts}, "mean_pq": {"train": mean}}))
        elif task.probe == "gate":
            records.append(answer(task, gate_detail(dict(options["gate"]))))
    page.write(tmp_path, eco.SUITE, plan, records, "effbench run eco")
    text = (tmp_path / "README.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for title in ("Quality at every exit", "Gates", "What the gate is worth", "What printed costs imply"):
        assert title in headings
    assert "Systems" not in headings and "Multiply-accumulates by component" not in headings
    assert f"]({page.EXITS})" in text
    with Image.open(tmp_path / page.EXITS) as image:
        assert image.width > 2 * image.height


def test_printed_costs_imply_a_mean_exit(plan: Plan, answer: Answer) -> None:
    counts = {2: 155.26, 3: 186.73, 4: 218.20, 5: 249.66, 6: 281.13}
    records = [
        answer(task, {"papers": {"encoder": 1e9 * counts[task.cell.options["exit"]]}})
        for task in tasks_of(plan, "macs")
        if (task.cell.backbone, task.cell.size) == ("swin_t", "1024x2048")
    ]
    rows = early_exit.implied_table(records, eco.SUITE.published)
    assert set(rows["backbone"]) == {"swin_t"} and set(rows["input"]) == {"1024x2048"}
    implied = dict(zip(rows["printed GFLOPs"], rows["implied mean exit"], strict=True))
    assert implied["250.80"] == "5.04" and implied["182.95"] == "2.88" and implied["155.26"] == "2.00"
    other = [replace(record, status="failed") for record in records]
    assert early_exit.implied_table(other, eco.SUITE.published).empty
    ours = Published("early_exit(base=mask2former)", "swin_t", "1024x2048", "gmacs_total", 1.0, "elsewhere")
    assert early_exit.implied_table(records, [ours]).empty


@pytest.mark.parametrize(("gmacs", "expected"), [(10.0, 2.0), (30.0, 4.0), (25.0, 3.5)])
def test_exits_lie_on_a_line(gmacs: float, expected: float) -> None:
    assert early_exit.implied_exit(gmacs, {2: 10.0, 4: 30.0}) == pytest.approx(expected)

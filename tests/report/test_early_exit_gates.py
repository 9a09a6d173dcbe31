"""Tables of gates, from made-up records whose numbers can be recognised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from effbench.report import early_exit_gates
from effbench.study.record import Record
from effbench.study.suite import Plan, Task
from effbench.suites import eco as suite

Answer = Callable[..., Record]
Detail = Callable[..., dict[str, Any]]


def tasks_of(plan: Plan, probe: str, system: str = suite.M2F.label) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe and task.cell.system == system]


def test_gates_and_what_they_are_worth(eco: Plan, exit_answer: Answer, gate_detail: Detail) -> None:
    records = [exit_answer(task, gate_detail(dict(task.cell.options["gate"]))) for task in tasks_of(eco, "gate")]
    rows = early_exit_gates.gates_table(records)
    assert len(rows) == len(suite.BETAS) + 2 + 3
    assert rows.loc[0, ["beta", "K", "loss", "gate, val", "PQ all"]].tolist() == ["0", "all", "hard_ce", "3.40", "52.0"]
    assert rows.loc[0, "of images at each exit"] == "2: 100, 4: 200"
    worth = early_exit_gates.value_table(records)
    assert worth.loc[0, "minus random exits"] == "+0.50 (-0.50 to +1.50)"
    assert worth.loc[0, "minus the neighbouring fixed exits"] == "+0.50 (-0.50 to +1.50)"
    assert worth.loc[0, ["better than fixed exits", "worse than fixed exits"]].tolist() == ["2, 3", "4"]
    assert worth.loc[0, "share of the oracle's gain"] == "+20% (+10% to +30%)"


def test_the_verdict_counts_what_the_intervals_say(eco: Plan, exit_answer: Answer, gate_detail: Detail) -> None:
    tasks = tasks_of(eco, "gate")[:4]
    details = [
        gate_detail({"beta": 0.0}),
        gate_detail({"beta": 0.0}, over_random=2.0),
        gate_detail({"beta": 0.0}, -2.0),
    ]
    details.append(gate_detail({"beta": 0.0}, share=None))
    said = early_exit_gates.verdict([exit_answer(task, detail) for task, detail in zip(tasks, details, strict=True)])
    assert said == (
        f"{suite.M2F.label}, 4 gates: 1 better and 1 worse than the same exits dealt by chance; 0 better and 0 worse "
        "than the fixed exits beside their mean depth; 3 win a share of the oracle's gain."
    )
    assert early_exit_gates.verdict([]) == ""


def test_models_are_scored_as_they_run(eco: Plan, exit_answer: Answer) -> None:
    scores = {group: {"pq": pq} for group, pq in (("all", 52.0), ("things", 30.0), ("stuff", 90.0))}
    detail = {**scores, "miou": {"miou": 60.0}, "ap": {"ap": 25.0}, "mean_exit": 3.25, "as_derived": True}
    rows = early_exit_gates.scores_table([exit_answer(task, detail) for task in tasks_of(eco, "exit_quality")])
    fixed = rows[rows["leaves"] != "by its gate"]
    assert fixed["leaves"].tolist() == [f"at exit {k}" for k in suite.EXITS[suite.M2F]] and set(fixed["beta"]) == {"-"}
    gated = rows[rows["leaves"] == "by its gate"]
    assert len(gated) == len(suite.BETAS) + len(suite.KS) + len(suite.LOSSES)
    assert set(gated["K"]) == {"all", "5", "4"} and set(gated["loss"]) == {"hard_ce", *suite.LOSSES}
    assert rows.iloc[-1][["mean exit", "PQ all", "mIoU_p", "AP_p"]].tolist() == ["3.25", "52.0", "60.0", "25.0"]
    assert rows.iloc[-1].iloc[-1] == "yes"

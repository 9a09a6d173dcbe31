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
    assert worth.loc[0, "the oracle's gain"] == "+2.50 (+1.50 to +3.50)"
    assert worth.loc[0, "share of it won"] == "+20% (+10% to +30%)"
    fixed = early_exit_gates.fixed_table(records)
    assert fixed.loc[0, "PQ minus the neighbouring exits'"] == "+0.50 (-0.50 to +1.50)"
    assert fixed.loc[0, "minus exit 2's"] == "+3.00 (+2.00 to +4.00)"
    assert fixed.loc[0, "minus exit 4's"] == "-1.50 (-2.50 to -0.50)" and fixed.loc[0, "elsewhere"] == "33%"


def test_a_gate_that_goes_deeper_where_a_layer_costs_more_is_named(
    eco: Plan, exit_answer: Answer, gate_detail: Detail
) -> None:
    records = []
    for task, target, gate in zip(tasks_of(eco, "gate")[:3], (4.0, 3.0, 2.0), (4.0, 3.0, 3.25), strict=True):
        detail = gate_detail(dict(task.cell.options["gate"]))
        detail["target"], detail["chosen"] = {"train": {"mean": target}}, {"train": {"mean": gate}}
        records.append(exit_answer(task, detail))
    said = early_exit_gates.monotony(records[::-1])
    assert said.endswith(f": {suite.M2F.label}: targets never, gates at most 0.25 layers.")
    assert early_exit_gates.monotony([]) == ""


def test_the_verdict_counts_what_the_intervals_say(eco: Plan, exit_answer: Answer, gate_detail: Detail) -> None:
    """The gates' mean exit is 3.4: exit 3 is the best that is no deeper, 2 points below them with an interval of 1."""
    tasks = tasks_of(eco, "gate")[:6]
    details = [
        gate_detail({"beta": 0.0}),
        gate_detail({"beta": 0.0}, over_random=2.0),
        gate_detail({"beta": 0.0}, -2.0),
        gate_detail({"beta": 0.1}, share=None),
        gate_detail({"beta": 0.0}),  # as the first
        gate_detail({"beta": 0.2}, over_random=9.0),
    ]
    details[-1]["chosen"] = {"val": {"mean": 2.0, "images": {"2": 297, "4": 3}}}
    said = early_exit_gates.verdict([exit_answer(task, detail) for task, detail in zip(tasks, details, strict=True)])
    assert said == (
        f"{suite.M2F.label}: 4 different gates of 6 leave at least 5% of the images after another exit than most. Of "
        "these, 4 are better and 0 worse than the best fixed exit that is no deeper; 0 are better and 0 worse than "
        "the two fixed exits beside their depth; 1 are better and 1 worse than the same exits dealt by chance; 3 of 3 "
        "win a share of what an oracle could gain."
    )
    assert early_exit_gates.verdict([]) == ""
    alone = early_exit_gates.verdict([exit_answer(tasks[0], details[-1])])
    assert alone.endswith(": 0 different gates of 1 leave at least 5% of the images after another exit than most.")


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

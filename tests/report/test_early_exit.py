"""Tables of exits, from made-up records whose numbers can be recognised."""

from __future__ import annotations

from collections.abc import Callable

from effbench.report import early_exit
from effbench.study.record import Record
from effbench.study.suite import Plan, Task
from effbench.suites import eco as suite

Answer = Callable[..., Record]


def tasks_of(plan: Plan, probe: str, system: str = suite.M2F.label) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe and task.cell.system == system]


def test_exits_stand_beside_each_other_over_seeds(eco: Plan, exit_answer: Answer) -> None:
    records = []
    for task in tasks_of(eco, "exits"):
        recipe = task.cell.options["recipe"]
        base = {"weighted": 50, "uniform": 48, "last": 10}[recipe["exit_loss"]] + recipe["seed"]
        exits = {str(k): {"all": {"pq": base + k}} for k in suite.EXITS[suite.M2F]}
        records.append(exit_answer(task, {"exits": exits, "recipe": recipe}))
    rows = early_exit.exits_table(records).set_index("trained")
    assert (
        rows.loc["weighted", "exit 2"] == "52.5 (52.0 to 53.0)" and rows.loc["last", "exit 6"] == "16.5 (16.0 to 17.0)"
    )
    assert set(rows["seeds"]) == {"2"}
    assert early_exit.best_exits_table(records).empty, "nothing was derived"


def test_best_exits_stand_with_what_exits_are_worth(eco: Plan, exit_answer: Answer) -> None:
    (task,) = tasks_of(eco, "derivation")
    counts, mean = {"2": 30, "6": 10}, {"2": 50.0, "6": 52.5}
    rows = early_exit.best_exits_table([exit_answer(task, {"best_exits": {"val": counts}, "mean_pq": {"val": mean}})])
    assert rows.loc[0].tolist() == [suite.M2F.label, "val, 40", "75% (50.0)", "25% (52.5)"]


def test_losses_are_held_against_each_other_seed_by_seed_and_image_by_image(eco: Plan, exit_answer: Answer) -> None:
    """Every image is better by the same, so that no draw of them changes the difference; the seeds' differ."""
    records = []
    for task in tasks_of(eco, "exits"):
        recipe = task.cell.options["recipe"]
        iou = {"weighted": 0.8 + 0.1 * recipe["seed"], "uniform": 0.7, "last": 0.6}[recipe["exit_loss"]]
        stats = [{"1": [iou, 1, 0, 0]}] * len(suite.EXITS[suite.M2F])
        exits = {str(k): {"all": {"pq": 100 * iou}} for k in suite.EXITS[suite.M2F]}
        records.append(exit_answer(task, {"exits": exits, "recipe": recipe, "per_image": {"1": stats, "2": stats}}))
    rows = early_exit.losses_table(records).set_index("loss")
    assert rows.loc["weighted minus last", "exit 2"] == "+25.0 (+25.0 to +25.0); +20.0, +30.0"
    assert rows.loc["uniform minus last", "exit 6"] == "+10.0 (+10.0 to +10.0); +10.0, +10.0"
    assert len(rows) == 3 and set(rows["system"]) == {suite.M2F.label}
    assert early_exit.losses_table(records[:2]).empty, "one loss alone has nothing beside it"

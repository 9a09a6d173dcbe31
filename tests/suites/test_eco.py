"""The eco suite: its trainings, gates and counts, and the printed rows that they answer."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.probes.base import segmenter
from effbench.probes.training_options import parse_recipe, parse_warm_start
from effbench.study.cell import Cell
from effbench.study.suite import Options, Plan, Task, find_suite
from effbench.suites import eco
from effbench.training.gate import GATE_LOSSES, GateRecipe

SUITE = find_suite("eco")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return SUITE.plan(Options())


def tasks_of(plan: Plan, probe: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe]


def test_no_two_tasks_are_the_same_measurement(plan: Plan) -> None:
    assert max(Counter((task.cell.id, task.probe) for task in plan.tasks).values()) == 1
    assert max(Counter(task.title for task in plan.tasks).values()) == 1


def test_exits_are_those_of_the_encoders(plan: Plan) -> None:
    for system, exits in eco.EXITS.items():
        cell = next(task.cell for task in tasks_of(plan, "exits") if task.cell.system == system.label)
        assert segmenter(Cell.from_json(cell.to_json()), device="meta").encoder.exits == exits


def test_step_a_is_taken_with_every_loss_over_two_seeds(plan: Plan) -> None:
    recipes = [
        (task.cell.system, parse_recipe(task.cell.options["recipe"]).exit_loss, task.cell.options["recipe"]["seed"])
        for task in tasks_of(plan, "exits")
    ]
    m2f = [(kind, seed) for system, kind, seed in recipes if system == eco.M2F.label]
    assert set(m2f) == {(kind, seed) for kind in ("weighted", "uniform", "last") for seed in (0, 1)}
    assert {system for system, *_ in recipes} == {system.label for system in eco.SYSTEMS}
    starts = {str(parse_warm_start(task.cell)) for task in plan.tasks if "recipe" in task.cell.options}
    assert len(starts) == 1


def test_gates_are_of_every_beta_k_and_loss_and_of_one_model(plan: Plan) -> None:
    recipes = [GateRecipe(**t.cell.options["gate"]) for t in tasks_of(plan, "gate") if t.cell.system == eco.M2F.label]
    assert {recipe.beta for recipe in recipes} == set(eco.BETAS)
    assert {recipe.k for recipe in recipes} == {0, 4, 5} and {recipe.loss for recipe in recipes} == set(GATE_LOSSES)
    for task in tasks_of(plan, "gate"):
        recipe = task.cell.options["recipe"]
        assert (recipe["exit_loss"], recipe["seed"]) == ("weighted", 0)
        made = next(
            t
            for t in tasks_of(plan, "exits")
            if t.cell.system == task.cell.system and t.cell.options["recipe"] == recipe
        )
        assert made.cell.width == task.cell.width, "its model is one that step A makes"


def test_every_printed_row_has_two_counts_at_its_input(plan: Plan) -> None:
    counted = Counter(
        (task.cell.system, task.cell.backbone, task.cell.size) for task in tasks_of(plan, "macs") if not task.cell.width
    )
    for claim in SUITE.published:
        assert counted[claim.system, claim.backbone, claim.size] >= 2, claim
    assert len(SUITE.published) == len({(c.system, c.backbone, c.size, c.source) for c in SUITE.published})


def test_ledgers_are_of_several_processes_that_take_turns(plan: Plan) -> None:
    ledgers = tasks_of(plan, "ledger")
    assert all(task.alone for task in ledgers)
    systems = [task.cell.system for task in ledgers]
    a_round = 3 * len(eco.PAPER_BETAS)
    assert len(ledgers) == a_round * eco.LEDGER_PROCESSES
    assert systems[:a_round] == systems[a_round : 2 * a_round][::-1] == systems[2 * a_round :]


def test_models_are_scored_at_every_exit_and_by_every_gate(plan: Plan) -> None:
    m2f = [task.cell.options for task in tasks_of(plan, "exit_quality") if task.cell.system == eco.M2F.label]
    assert tuple(options["exit"] for options in m2f if "exit" in options) == eco.EXITS[eco.M2F]
    gates = [t.cell.options["gate"] for t in tasks_of(plan, "gate") if t.cell.system == eco.M2F.label]
    assert [options["gate"] for options in m2f if "gate" in options] == gates
    for system in (eco.LITE, eco.PROSCALE):
        others = [t.cell.options["gate"] for t in tasks_of(plan, "exit_quality") if t.cell.system == system.label]
        assert [gate["beta"] for gate in others] == list(eco.PAPER_BETAS)
    assert [task.cell.system for task in tasks_of(plan, "exit_examples")] == [system.label for system in eco.SYSTEMS]


def test_photos_go_through_the_three_steps(photos: Path, city_photos: Path) -> None:
    for root, classes in ((photos, 133), (city_photos, 19)):
        plan = SUITE.plan(Options(data_root=root))
        assert plan.profile == "smoke" and plan == SUITE.plan(Options(profile="smoke", data_root=root))
        assert {task.probe for task in plan.tasks} >= {"exits", "derivation", "gate", "ledger", "exit_quality"}
        assert {task.cell.classes for task in plan.tasks} == {classes}
        assert {task.inputs["data_root"] for task in plan.tasks} == {str(root)}
        assert {task.cell.options["images"] for task in plan.tasks} == {eco.PHOTO_IMAGES}
    limited = SUITE.plan(Options(data_root=photos, limit=3, systems=(eco.LITE.label,)))
    assert {task.cell.options["images"] for task in limited.tasks} == {3}
    assert {task.cell.system for task in limited.tasks} == {eco.LITE.label}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "full"}, "profile 'full' of suite eco; expected one of quick, smoke"),
        ({"profile": "smoke"}, "no folder of the data set coco is known"),
        ({"profile": "quick", "data_root": Path()}, "quick takes no --data-root"),
        ({"data_root": Path("/nonexistent")}, "/nonexistent has neither of the layouts"),
        ({"limit": 3}, "--limit counts photos"),
        ({"device": "cuda"}, "profile quick runs on the CPU"),
        ({"systems": ("fpn",)}, r"'fpn' is not in suite eco; expected some of early_exit\(base=mask2former\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SUITE.plan(Options(**options))  # type: ignore[arg-type]

"""The coco suite: what it plans without data, and what it refuses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from effbench.data.embedded_categories import CATEGORIES
from effbench.data.embedded_recipe import MIXES
from effbench.data.embedded_recipe import PARTS as RECIPES
from effbench.errors import InputError
from effbench.probes.training_options import parse_warm_start
from effbench.study.suite import Options, Plan, Task, find_suite
from effbench.suites.systems import COUNTED, SYSTEMS

TRAINED = [system.label for system in SYSTEMS]
ALL = [system.label for system in COUNTED]
SUITE = find_suite("coco")


def tasks_of(plan: Plan, probe: str, narrow: bool | None = None) -> list[Task]:
    return [t for t in plan.tasks if t.probe == probe and narrow in (None, bool(t.cell.width))]


def systems_of(tasks: list[Task]) -> list[str]:
    return list(dict.fromkeys(task.cell.system for task in tasks))


# --- what is planned -------------------------------------------------------------------------------------------------


def test_quick_measures_every_cost_and_the_quality_of_every_system(quick: Plan) -> None:
    assert quick.profile == "quick"
    for probe, narrow, expected in [
        ("macs", False, ALL),
        ("parameters", False, ALL),
        ("latency", False, TRAINED),
        ("macs", True, TRAINED),
        ("latency", True, TRAINED),
        ("quality", True, TRAINED),
    ]:
        assert systems_of(tasks_of(quick, probe, narrow)) == expected, (probe, narrow)
    assert all(not task.inputs for task in quick.tasks), "it needs no data root"


def test_full_models_are_counted_on_both_backbones_over_all_of_coco_and_as_the_papers_did(quick: Plan) -> None:
    counted = Counter((task.cell.backbone, task.cell.size) for task in tasks_of(quick, "macs", narrow=False))
    sizes = ("coco", "coco:first30", "coco:first100")
    everywhere = {(backbone, size): len(ALL) for backbone in ("r50", "swin_t") for size in sizes}
    assert counted == {**everywhere, ("r50", "512x512"): len(ALL)}, "and where they are timed"
    assert {task.cell.classes for task in tasks_of(quick, "macs", narrow=False)} == {133}
    assert {(task.cell.backbone, task.cell.size) for task in tasks_of(quick, "latency", narrow=False)} == {
        ("r50", "512x512")
    }


def test_the_warm_start_is_made_once_before_the_training_that_uses_it(quick: Plan) -> None:
    probes = [task.probe for task in quick.tasks]
    assert probes.count("warm_start") == 1
    assert probes.index("warm_start") < probes.index("quality")
    (task,) = tasks_of(quick, "warm_start")
    starts = {str(parse_warm_start(t.cell)) for t in (task, *tasks_of(quick, "quality"))}
    assert len(starts) == 1, "all systems start from the same"


def test_training_and_warm_start_see_other_orders_of_the_images(quick: Plan) -> None:
    options = tasks_of(quick, "quality")[0].cell.options
    assert options["recipe"]["seed"] != options["warm_start"]["seed"]


def test_training_is_on_a_mix_and_each_of_its_parts_is_scored_apart(quick: Plan) -> None:
    for task in tasks_of(quick, "quality"):
        embedded, _, mix = task.cell.dataset.partition("/")
        parts = task.cell.options["parts"]
        assert embedded == "embedded"
        assert next(iter(parts)) == "base", "the first is the one that systems are compared on"
        assert parts.keys() == RECIPES.keys(), "what was not trained on is scored, too"
        assert MIXES[mix].keys() <= parts.keys()
        assert max(parts, key=parts.__getitem__) == "base", "its score has the most images behind it"
        assert task.cell.classes == len(CATEGORIES)


def test_the_notes_say_what_the_numbers_are_good_for(quick: Plan) -> None:
    assert any("ranks nothing" in note and "one seed" in note for note in quick.notes)


def test_planning_twice_gives_the_same_cells(quick: Plan) -> None:
    assert [task.cell.id for task in SUITE.plan(Options()).tasks] == [task.cell.id for task in quick.tasks]


# --- what the user may choose ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "trained", "counted"),
    [
        (("fpn",), ["fpn"], ["fpn"]),
        (
            ("rt",),
            ["rt"],
            ["rt", "rt(fused=True)", "rt(embedding=none)", "rt(fused=True, embedding=none)"],
        ),
        (
            ("proscale",),
            ["proscale(p=(3,3,3))", "proscale(p=(1,1,1))"],
            ["proscale(p=(3,3,3))", "proscale(p=(2,2,2))", "proscale(p=(1,1,1))"],
        ),
    ],
)
def test_some_of_the_systems(chosen: tuple[str, ...], trained: list[str], counted: list[str], photos: Path) -> None:
    for options in (Options(systems=chosen), Options(systems=chosen, data_root=photos)):
        plan = SUITE.plan(options)
        assert systems_of(tasks_of(plan, "macs", narrow=False)) == counted
        for probe in ("quality", "latency"):
            assert systems_of(tasks_of(plan, probe)) == trained


def test_some_of_the_systems_are_the_same_cells_as_in_the_whole(quick: Plan) -> None:
    part = SUITE.plan(Options(systems=("fpn",)))
    assert {(t.cell.id, t.probe) for t in part.tasks} < {(t.cell.id, t.probe) for t in quick.tasks}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "smoke"}, r"no folder of the data set coco .* \(--data-root PATH\), or EFFBENCH_DATASETS"),
        ({"profile": "half"}, r"profile 'half' .* expected one of quick, smoke, full, standard"),
        ({"profile": "full", "limit": 5}, "--limit counts photos of a data root"),
        ({"device": "cuda"}, "profile quick runs on the CPU, not on cuda"),
        ({"limit": 5}, "--limit counts photos of a data root"),
        ({"systems": ("resnet",)}, r"system 'resnet' is not in suite coco; expected some of mask2former"),
        ({"systems": ("fpn", "proscale(p=(2,2,2))")}, r"'proscale\(p=\(2,2,2\)\)' is not in suite coco"),
        ({"data_root": Path("/nonexistent")}, "/nonexistent not found; expected the folder of coco there"),
        ({"profile": "quick", "data_root": Path()}, "quick takes no --data-root: .* leave one of the two out"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SUITE.plan(Options(**options))

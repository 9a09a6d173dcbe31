"""The coco suite: what it plans, what it refuses, and that all of it can be built."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from effbench.data.embedded import embedded_root
from effbench.errors import InputError
from effbench.probes import macs
from effbench.probes.base import Context, load_probe, segmenter
from effbench.probes.training_options import parse_recipe, parse_warm_start
from effbench.study.cell import Cell
from effbench.study.statistics import LEAST_SAMPLES
from effbench.study.suite import Options, Plan, Task, find_suite
from effbench.training.evaluate import Inference

SYSTEMS = ["mask2former", "proscale(p=(1,1,1))", "proscale(p=(3,3,3))", "fpn"]
SUITE = find_suite("coco")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root, small and generated, in a folder with nothing else."""
    root = tmp_path_factory.mktemp("data") / "photos"
    shutil.copytree(embedded_root(size=64, counts={"train2017": 3, "val2017": 3}), root)
    return root


@pytest.fixture
def quick() -> Plan:
    return SUITE.plan(Options())


@pytest.fixture
def smoke(photos: Path) -> Plan:
    return SUITE.plan(Options(data_root=photos))


@pytest.fixture(params=["quick", "smoke"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return request.getfixturevalue(request.param)


def tasks_of(plan: Plan, probe: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe]


def systems_of(tasks: list[Task]) -> Counter[str]:
    return Counter(task.cell.system for task in tasks)


# --- what is planned -------------------------------------------------------------------------------------------------


def test_quick_measures_every_cost_and_the_quality_of_every_system(quick: Plan) -> None:
    assert quick.profile == "quick"
    assert systems_of(tasks_of(quick, "quality")) == Counter(SYSTEMS)
    for probe in ("latency", "macs", "parameters"):
        full = [task for task in tasks_of(quick, probe) if not task.cell.width]
        assert systems_of(full).keys() == set(SYSTEMS), probe
    for probe in ("latency", "macs"):
        narrow = [task for task in tasks_of(quick, probe) if task.cell.width]
        assert systems_of(narrow) == Counter(SYSTEMS), "the models that are trained have their own costs"
    assert all(not task.inputs for task in quick.tasks), "it needs no data root"


def test_full_models_are_counted_over_all_of_coco_and_as_the_paper_did(quick: Plan) -> None:
    sizes = {task.cell.size for task in tasks_of(quick, "macs") if not task.cell.width}
    assert sizes == {"coco", "coco:first30"}
    assert {task.cell.size for task in tasks_of(quick, "latency") if not task.cell.width} == {"512x512"}


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


def test_smoke_takes_its_cells_from_the_photos(smoke: Plan, photos: Path) -> None:
    assert smoke.profile == "smoke"
    for probe in ("macs", "latency", "quality"):
        assert systems_of(tasks_of(smoke, probe)) == Counter(SYSTEMS), probe
        assert {task.cell.size for task in tasks_of(smoke, probe)} == {"data"}
    data = [task for task in smoke.tasks if "panoptic_sample" not in task.inputs]
    assert {task.inputs["data_root"] for task in data} == {str(photos)}
    assert {task.cell.options["images"] for task in tasks_of(smoke, "latency")} == {4}
    assert {task.cell.options["recipe"]["steps"] for task in tasks_of(smoke, "quality")} == {20}
    assert {task.cell.options["images"] for task in tasks_of(smoke, "quality")} == {8}


def test_the_limit_widens_the_evaluation(photos: Path) -> None:
    plan = SUITE.plan(Options(data_root=photos, limit=79))
    assert {task.cell.options["images"] for task in tasks_of(plan, "quality")} == {79}


def test_a_data_root_is_known_by_its_content_and_not_by_its_place(smoke: Plan, photos: Path, tmp_path: Path) -> None:
    def ids(root: Path) -> list[str]:
        return [task.cell.id for task in SUITE.plan(Options(data_root=root)).tasks]

    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    assert ids(moved) == [task.cell.id for task in smoke.tasks]
    annotations = moved / "annotations/panoptic_val2017.json"
    content = json.loads(annotations.read_text())
    content["images"].pop()
    annotations.write_text(json.dumps(content))
    assert ids(moved) != [task.cell.id for task in smoke.tasks]


def test_ground_truth_is_scored_against_itself(smoke: Plan, photos: Path, tmp_path: Path) -> None:
    own, sample = tasks_of(smoke, "ground_truth")
    assert own.inputs == {"data_root": str(photos)}
    assert own.skip is None
    assert sample.skip == "no folder panoptic_sample beside the data root"

    (tmp_path / "panoptic_sample").mkdir()
    shutil.copytree(photos, tmp_path / "photos")
    _, sample = tasks_of(SUITE.plan(Options(data_root=tmp_path / "photos")), "ground_truth")
    assert sample.skip is None
    assert sample.inputs == {"panoptic_sample": str(tmp_path / "panoptic_sample")}


def test_the_notes_say_what_the_numbers_are_good_for(quick: Plan, smoke: Plan) -> None:
    assert any("ranks nothing" in note for note in quick.notes)
    assert any("smoke" in note.lower() for note in smoke.notes)


# --- what can be relied on -------------------------------------------------------------------------------------------


def test_no_two_tasks_are_the_same_measurement(plan: Plan) -> None:
    keys = Counter((task.cell.id, task.probe) for task in plan.tasks)
    assert max(keys.values()) == 1
    titles = Counter(task.title for task in plan.tasks)
    assert max(titles.values()) == 1


def test_planning_twice_gives_the_same_cells(quick: Plan) -> None:
    assert [task.cell.id for task in SUITE.plan(Options()).tasks] == [task.cell.id for task in quick.tasks]


def test_every_probe_is_there(plan: Plan) -> None:
    probes = {task.probe for task in plan.tasks}
    assert {load_probe(probe).NAME for probe in probes} == probes


def test_timings_run_alone_and_only_counts_share_a_process(plan: Plan) -> None:
    for task in plan.tasks:
        assert task.alone == (task.probe == "latency"), task.title
        assert task.counts == (task.probe in ("macs", "parameters")), task.title


def test_the_samples_carry_a_median(plan: Plan) -> None:
    assert all(task.cell.options["samples"] >= LEAST_SAMPLES[50] for task in tasks_of(plan, "latency"))


def test_recipes_can_be_read(plan: Plan) -> None:
    for task in tasks_of(plan, "quality"):
        cell = Cell.from_json(task.cell.to_json())
        recipe = parse_recipe(cell.options["recipe"])
        assert recipe.steps > 0 and recipe.crop % 32 == 0
        assert 0 <= Inference(**cell.options["inference"]).object_threshold < 1


def models(tasks: Any) -> Mapping[str, Cell]:
    """One cell of every model that is built."""
    fields = ("encoder", "settings", "width", "backbone", "decoder_settings", "classes", "queries")
    return {str([getattr(task.cell, name) for name in fields]): task.cell for task in tasks}


def test_every_cell_can_be_built(quick: Plan, smoke: Plan) -> None:
    built = models([*quick.tasks, *smoke.tasks])
    assert len(built) >= 3 * len(SYSTEMS), "full, narrow, and narrow with COCO's classes"
    for cell in built.values():
        model = segmenter(Cell.from_json(cell.to_json()), device="meta")
        for name, value in cell.width.items():
            assert name not in ("dim", "mask_dim") or getattr(model.encoder, name) == value
        assert model.decoder.class_embed.out_features == cell.classes + 1


def test_every_system_is_narrowed_alike(quick: Plan) -> None:
    widths = [task.cell.width for task in tasks_of(quick, "quality")]
    assert len({(width["dim"], width["mask_dim"]) for width in widths}) == 1
    assert len({width["heads"] for width in widths if "heads" in width}) == 1


def test_every_column_has_a_probe_and_the_figure_has_its_columns(plan: Plan) -> None:
    titles = [column.title for column in plan.columns]
    assert len(set(titles)) == len(titles)
    for column in plan.columns:
        cells = [task.cell for task in tasks_of(plan, column.probe) if bool(task.cell.width) == column.narrow]
        assert {cell.system for cell in cells if column.size in (None, cell.size)} == set(SYSTEMS), column.title
    if plan.figure is not None:
        assert {plan.figure.y[0], *plan.figure.x} <= set(titles)


def test_what_is_published_belongs_to_a_system_and_a_metric(quick: Plan) -> None:
    assert SUITE.published
    printed = {column.printed: column for column in quick.columns if column.printed}
    for row in SUITE.published:
        assert row.system in SYSTEMS
        column = printed[row.metric]
        cells = [t.cell for t in tasks_of(quick, column.probe) if t.cell.system == row.system and not t.cell.width]
        assert (row.backbone, row.size) in {(cell.backbone, cell.size) for cell in cells}, "it is measured here, too"
        assert column.size == row.size
        assert row.metric in ("gmacs_encoder", "gmacs_total")
        assert row.value > 0 and row.source
    assert len({(row.system, row.metric) for row in SUITE.published}) == len(SUITE.published)


@pytest.mark.slow
def test_the_published_costs_are_reproduced(quick: Plan) -> None:
    cells = {t.cell.system: t.cell for t in tasks_of(quick, "macs") if t.cell.size == "coco:first30"}
    counted = {name: macs.measure(cell, Context("unused")).detail["papers"] for name, cell in cells.items()}
    for row in SUITE.published:
        ours = counted[row.system][row.metric.removeprefix("gmacs_")] / 1e9
        assert ours == pytest.approx(row.value, abs=0.1), row


# --- what the user may choose ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (("fpn",), ["fpn"]),
        (("proscale",), ["proscale(p=(1,1,1))", "proscale(p=(3,3,3))"]),
        (("proscale(p=(1,1,1))", "mask2former"), ["mask2former", "proscale(p=(1,1,1))"]),
    ],
)
def test_some_of_the_systems(chosen: tuple[str, ...], expected: list[str], photos: Path) -> None:
    for options in (Options(systems=chosen), Options(systems=chosen, data_root=photos)):
        for probe in ("quality", "latency", "macs"):
            tasks = tasks_of(SUITE.plan(options), probe)
            assert list(dict.fromkeys(task.cell.system for task in tasks)) == expected


def test_some_of_the_systems_are_the_same_cells_as_in_the_whole(quick: Plan) -> None:
    part = SUITE.plan(Options(systems=("fpn",)))
    assert {(t.cell.id, t.probe) for t in part.tasks} < {(t.cell.id, t.probe) for t in quick.tasks}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "smoke"}, "smoke needs --data-root"),
        ({"profile": "full"}, r"profile 'full' .* expected quick, or smoke"),
        ({"limit": 5}, "--limit counts photos of a data root"),
        ({"systems": ("resnet",)}, r"system 'resnet' is not in suite coco; expected some of mask2former"),
        ({"systems": ("fpn", "proscale(p=(2,2,2))")}, r"'proscale\(p=\(2,2,2\)\)' is not in suite coco"),
        (
            {"data_root": Path("/nonexistent")},
            "/nonexistent/train2017, .* not found; expected the COCO panoptic layout",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SUITE.plan(Options(**options))


def test_quick_takes_no_data_root(photos: Path) -> None:
    with pytest.raises(InputError, match="quick takes none"):
        SUITE.plan(Options(profile="quick", data_root=photos))


@pytest.mark.parametrize("folder", ["train2017", "val2017", "panoptic_train2017", "panoptic_val2017"])
def test_annotations_without_their_images_are_refused_before_anything_runs(
    folder: str, photos: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.rmtree(root / folder)
    with pytest.raises(InputError, match=rf"{folder} not found; expected the COCO panoptic layout"):
        SUITE.plan(Options(data_root=root))

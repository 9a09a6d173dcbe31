"""What can be relied on in every plan of every suite, and that all of it can be built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from effbench.models.segmenter import Segmenter
from effbench.probes.base import load_probe, segmenter
from effbench.probes.training_options import parse_recipe
from effbench.study.cell import Cell
from effbench.study.interleave import unreplicated
from effbench.study.statistics import LEAST_SAMPLES
from effbench.study.suite import Plan, Task, suites
from effbench.suites.systems import BASELINE, COUNTED, SYSTEMS
from effbench.training.evaluate import Inference

TRAINED = {system.label for system in SYSTEMS}
ALL = {system.label for system in COUNTED}


def tasks_of(plan: Plan, *probes: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe in probes]


def test_the_suites_are_found() -> None:
    assert suites().keys() == {"cityscapes", "coco", "eco", "kernels"}


def test_no_two_tasks_are_the_same_measurement(plan: Plan) -> None:
    check_distinct(plan)


def check_distinct(plan: Plan) -> None:
    keys = Counter((task.cell.id, task.probe) for task in plan.tasks)
    assert max(keys.values()) == 1
    titles = Counter(task.title for task in plan.tasks)
    assert max(titles.values()) == 1


def test_every_probe_is_there(plan: Plan) -> None:
    probes = {task.probe for task in plan.tasks}
    assert {load_probe(probe).NAME for probe in probes} == probes


def test_timings_run_alone_and_only_counts_share_a_process(plan: Plan) -> None:
    for task in plan.tasks:
        assert task.alone == (task.probe in ("latency", "components", "energy")), task.title
        assert task.counts == (task.probe in ("macs", "parameters")), task.title


def test_what_is_only_counted_is_neither_timed_nor_trained(plan: Plan) -> None:
    full = [task for task in tasks_of(plan, "macs") if not task.cell.width]
    assert {task.cell.system for task in full} in (ALL, set())
    costly = tasks_of(plan, "latency", "components", "memory", "energy", "quality")
    assert {task.cell.system for task in costly} == (TRAINED if costly else set())
    narrow = [task for task in plan.tasks if task.cell.width]
    assert {task.cell.system for task in narrow} == (TRAINED if narrow else set())


def test_the_samples_carry_a_median(plan: Plan) -> None:
    for task in tasks_of(plan, "latency", "components"):
        assert task.cell.options["samples"] >= LEAST_SAMPLES[50], task.title


def test_recipes_can_be_read(plan: Plan) -> None:
    for task in tasks_of(plan, "quality"):
        cell = Cell.from_json(task.cell.to_json())
        recipe = parse_recipe(cell.options["recipe"])
        assert recipe.steps > 0 and recipe.crop % 32 == 0
        assert 0 <= Inference(**cell.options["inference"]).object_threshold < 1


def test_every_system_is_trained_alike(plan: Plan) -> None:
    """With the encoder's own settings alone: same data, recipe, decoder and width."""
    cells = [task.cell for task in tasks_of(plan, "quality")]
    shared = ("backbone", "backbone_settings", "decoder", "decoder_settings", "dataset", "size", "classes", "queries")
    for name in shared:
        assert len({str(getattr(cell, name)) for cell in cells}) <= 1, name
    assert len({str(unreplicated(cell).options) for cell in cells}) <= 1, "but for the seed"
    for name in ("dim", "mask_dim", "heads", "ffn_dim"):
        assert len({cell.width[name] for cell in cells if name in cell.width}) <= 1, name
    assert all({"dim", "mask_dim"} <= cell.width.keys() for cell in cells)


def test_every_column_has_a_probe_and_the_figure_has_its_columns(plan: Plan) -> None:
    check_columns(plan)


def test_on_a_gpu_every_condition_has_its_tasks_and_columns(full_on_cuda: Plan) -> None:
    check_distinct(full_on_cuda)
    check_columns(full_on_cuda)
    assert full_on_cuda.device == "cuda"
    for task in full_on_cuda.tasks:
        assert task.counts or task.cell.device == "cuda", task.title
        assert task.alone == (task.probe in ("latency", "components", "energy", "memory")), task.title


def check_columns(plan: Plan) -> None:
    titles = [column.title for column in plan.columns]
    assert len(set(titles)) == len(titles)
    for column in plan.columns:
        cells = [task.cell for task in tasks_of(plan, column.probe) if bool(task.cell.width) == column.narrow]
        cells = [cell for cell in cells if column.size in (None, cell.size)]
        cells = [cell for cell in cells if column.conditions in (None, cell.conditions)]
        cells = [cell for cell in cells if column.backbone in (None, cell.backbone)]
        filled = Counter(cell.system for cell in {unreplicated(cell).id: cell for cell in cells}.values())
        counts = column.probe in ("macs", "parameters") and not column.narrow
        assert filled == Counter(ALL if counts else TRAINED), column.title
    if plan.figure is not None:
        assert {plan.figure.y[0], *plan.figure.x} <= set(titles)
    if plan.savings is not None:
        assert {plan.savings.macs, *plan.savings.times} <= set(titles)
        assert all(column.ratio for column in plan.columns if column.title in plan.savings.times)
    if plan.ranking is not None:
        assert {plan.ranking.strong, plan.ranking.plain} <= TRAINED


def test_ratios_are_taken_to_a_system_of_the_plan(plan: Plan) -> None:
    assert plan.baseline == BASELINE.label
    assert plan.legend and plan.notes


# --- models ----------------------------------------------------------------------------------------------------------


def models(tasks: Iterable[Task]) -> Mapping[str, Cell]:
    """One cell of every model that is built."""
    fields = ("encoder", "settings", "width", "backbone", "decoder_settings", "classes", "queries")
    return {str([getattr(task.cell, name) for name in fields]): task.cell for task in tasks}


def check(model: Segmenter, cell: Cell) -> None:
    for name, value in cell.width.items():
        assert name not in ("dim", "mask_dim") or getattr(model.encoder, name) == value
    assert model.decoder.class_embed.out_features == cell.classes + 1


def test_every_cell_can_be_built(
    quick: Plan,
    coco_smoke: Plan,
    coco_full: Plan,
    standard: Plan,
    costs: Plan,
    cityscapes_smoke: Plan,
    cityscapes_full: Plan,
) -> None:
    plans = (quick, coco_smoke, coco_full, standard, costs, cityscapes_smoke, cityscapes_full)
    tasks = [task for plan in plans for task in plan.tasks]
    built = models(tasks)
    # full on two backbones, for two numbers of classes; narrow, for three; half as wide
    assert len(built) == 4 * len(COUNTED) + 4 * len(SYSTEMS)
    for cell in built.values():
        check(segmenter(Cell.from_json(cell.to_json()), device="meta"), cell)

"""The full profile: every time in processes that take turns, at a paper's size, under the device's conditions."""

from __future__ import annotations

from collections import Counter

import pytest

from effbench.probes.conditions import conditions
from effbench.study.cell import Cell
from effbench.study.interleave import unreplicated
from effbench.study.statistics import LEAST_SAMPLES
from effbench.study.suite import Plan, Task
from effbench.suites import full
from effbench.suites.systems import SYSTEMS

TRAINED = [system.label for system in SYSTEMS]
PAPER = {"classes": 133, "queries": 100, "dataset": "coco", "backbone": "r50", "size": "800x1088"}


def tasks_of(plan: Plan, probe: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe]


@pytest.mark.parametrize(("name", "size"), [("coco_full", "800x1088"), ("cityscapes_full", "1024x2048")])
def test_the_encoders_are_measured_at_the_papers_size(name: str, size: str, request: pytest.FixtureRequest) -> None:
    plan: Plan = request.getfixturevalue(name)
    for probe in ("latency", "components", "memory", "energy"):
        cells = [task.cell for task in tasks_of(plan, probe)]
        assert list(dict.fromkeys(cell.system for cell in cells)) == TRAINED, probe
        assert {(cell.size, cell.backbone, bool(cell.width)) for cell in cells} == {(size, "r50", False)}, probe
    counted = {task.cell.system for task in tasks_of(plan, "macs") if task.cell.size == size}
    assert set(TRAINED) <= counted, "MACs saved are those of what is timed"


def test_all_processes_of_a_time_together_carry_p90(coco_full: Plan) -> None:
    samples: Counter[str] = Counter()
    for task in tasks_of(coco_full, "latency"):
        samples[unreplicated(task.cell).id] += task.cell.options["samples"]
    assert len(samples) == len(TRAINED)
    assert min(samples.values()) >= LEAST_SAMPLES[90]


def test_processes_take_turns(coco_full: Plan) -> None:
    order = [task.cell.system for task in tasks_of(coco_full, "latency")]
    assert order == [*TRAINED, *reversed(TRAINED), *TRAINED]


def test_every_system_is_trained_with_every_seed(coco_full: Plan) -> None:
    trained = Counter(task.cell.system for task in tasks_of(coco_full, "quality"))
    assert trained == Counter(dict.fromkeys(TRAINED, 3))
    assert {task.cell.options["recipe"]["seed"] for task in tasks_of(coco_full, "quality")} == {0, 1, 2}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_condition_is_one_that_probes_know_and_is_called_what_the_cell_is(device: str) -> None:
    tasks = full.timing(SYSTEMS, PAPER, device) + full.memory(SYSTEMS, PAPER, device)
    named = {task.cell.conditions for task in tasks}
    assert named == set(full.CONDITIONS[device])
    for task in tasks:
        found = conditions(Cell.from_json(task.cell.to_json()))
        assert found.device.type == device
        assert task.cell.conditions in task.title
    titles = {column.title for column in full.columns("800x1088", "r50", device)}
    assert set(full.savings("encoder GMACs", "800x1088", device).times) <= titles

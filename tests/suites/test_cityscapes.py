"""The cityscapes suite: counts without data, and the whole path with a data root."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from effbench.errors import InputError
from effbench.study.suite import Options, Plan, find_suite
from effbench.suites.systems import COUNTED

SUITE = find_suite("cityscapes")


def test_costs_counts_every_system_on_both_backbones(costs: Plan) -> None:
    assert costs.profile == "costs"
    counted = Counter((task.cell.system, task.cell.backbone, task.probe) for task in costs.tasks)
    backbones, probes = ("r50", "swin_t"), ("macs", "parameters")
    assert counted == Counter((s.label, backbone, probe) for s in COUNTED for backbone in backbones for probe in probes)
    assert {(task.cell.size, task.cell.classes, task.cell.queries) for task in costs.tasks} == {("1024x2048", 19, 100)}
    assert not any(task.cell.width or task.inputs for task in costs.tasks)


def test_the_notes_say_that_nothing_was_trained(costs: Plan) -> None:
    assert any("nothing was trained" in note for note in costs.notes)


def test_a_data_root_means_smoke(cityscapes_smoke: Plan) -> None:
    assert cityscapes_smoke.profile == "smoke"
    assert {task.cell.classes for task in cityscapes_smoke.tasks} == {19}
    assert {"macs", "latency", "quality", "ground_truth"} == {task.probe for task in cityscapes_smoke.tasks}


def test_some_of_the_systems() -> None:
    plan = SUITE.plan(Options(systems=("rt",)))
    assert {task.cell.encoder for task in plan.tasks} == {"rt"}
    assert len({task.cell.system for task in plan.tasks}) == 4, "fused or not, with and without the 3x3 convolution"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "quick"}, r"profile 'quick' of suite cityscapes; expected one of costs, smoke, full"),
        ({"profile": "smoke"}, "no folder of the data set cityscapes is known"),
        ({"limit": 5}, "--limit counts photos of a data root"),
        ({"profile": "costs", "data_root": Path()}, "costs takes no --data-root: .* leave one of the two out"),
        ({"profile": "full", "data_root": Path()}, "full takes no --data-root: .* leave one of the two out"),
        ({"device": "cuda"}, "profile costs runs on the CPU, not on cuda"),
        ({"systems": ("resnet",)}, "system 'resnet' is not in suite cityscapes"),
        ({"data_root": Path("/nonexistent")}, "/nonexistent not found; expected the folder of cityscapes there"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SUITE.plan(Options(**options))

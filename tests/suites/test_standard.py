"""The standard profile: what it trains, where it may run, and that its path runs, in miniature, on any machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from effbench.errors import InputError
from effbench.probes import quality
from effbench.probes.base import Context
from effbench.probes.training_options import parse_recipe, parse_warm_start
from effbench.study.suite import Options, Plan, Task, find_suite
from effbench.suites.systems import SYSTEMS


def tasks_of(plan: Plan, probe: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe]


def test_every_system_is_trained_in_bfloat16_with_three_seeds_on_tens_of_thousands_of_images(standard: Plan) -> None:
    tasks = tasks_of(standard, "quality")
    assert Counter(task.cell.system for task in tasks) == Counter({system.label: 3 for system in SYSTEMS})
    for task in tasks:
        recipe = parse_recipe(task.cell.options["recipe"])
        assert recipe.precision == "bfloat16"
        assert task.cell.options["train_images"] >= 20_000
        assert (task.cell.size, task.cell.dtype) == ("256x256", "float32"), "weights are float32"
    assert len({task.cell.options["recipe"]["seed"] for task in tasks}) == 3


def test_all_start_from_one_warm_start_that_is_made_first(standard: Plan) -> None:
    (made,) = tasks_of(standard, "warm_start")
    assert standard.tasks[0] is made
    assert len({str(parse_warm_start(task.cell)) for task in (made, *tasks_of(standard, "quality"))}) == 1


def test_without_a_gpu_it_is_refused_unless_one_insists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="profile standard needs a CUDA device; expected one, or --device cpu"):
        find_suite("coco").plan(Options(profile="standard"))
    with pytest.raises(InputError, match="device cuda, and this machine has no CUDA device"):
        find_suite("coco").plan(Options(profile="standard", device="cuda"))


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    plan = find_suite("coco").plan(Options(profile="standard"))
    assert {task.cell.device for task in plan.tasks if not task.counts} == {"cuda"}


def test_its_path_runs_in_miniature(standard: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deformable encoder with few images and steps: generation, warm start, bfloat16 training from files that
    another process loads, evaluation.
    """
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("effbench.data.memory.MOST_IN_MEMORY", 0)
    cell = next(task.cell for task in tasks_of(standard, "quality") if task.cell.encoder == "proscale")
    short = {"steps": 2, "batch_size": 2, "crop": 64}
    options = {
        **cell.options,
        "train_images": 4,
        "parts": {"base": 2, "thin": 1},
        "recipe": {**cell.options["recipe"], **short},
        "warm_start": {**cell.options["warm_start"], **short},
    }
    monkeypatch.setattr("effbench.probes.training_options.DEFAULT_COUNTS", {"train2017": 4, "val2017": 1})
    measured = quality.measure(replace(cell, options=options), Context(str(tmp_path), cores=2))
    assert measured.detail["recipe"]["precision"] == "bfloat16"
    assert len(measured.detail["per_image"]) == 2 and measured.detail["parts"].keys() == {"thin"}

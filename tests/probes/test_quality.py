"""The quality probe trains, scores, and goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.data import memory
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root
from effbench.data.embedded_categories import CATEGORIES
from effbench.data.memory import InMemory
from effbench.probes import quality, training_options
from effbench.probes.base import Context
from effbench.probes.training_options import parse_recipe
from effbench.quality import CategoryStats, ImageStats, accumulate, summarise
from effbench.study.cell import Cell
from effbench.training import trainer
from effbench.training.evaluate import Evaluation, Inference

MakeCell = Callable[..., Cell]
RECIPE = {"steps": 2, "batch_size": 2, "crop": 64, "criterion": {"sampling": "dense"}}
OPTIONS = {"recipe": RECIPE, "inference": {"object_threshold": 0.0}, "images": 2}


def test_two_steps_of_training_give_a_score_with_every_image_behind_it(
    tiny_cell: MakeCell, context: Context, tiny_root: Path
) -> None:
    events: list[dict[str, Any]] = []
    context = replace(context, report=lambda **event: events.append(event))
    measured = quality.measure(tiny_cell(options=OPTIONS), context)
    detail = measured.detail
    assert measured.unit == "%"
    assert measured.samples == [detail["all"]["pq"]]
    assert 0 <= detail["all"]["pq"] <= 100
    assert detail["resumed_at_step"] is None
    assert detail["seconds"].keys() == {"training", "evaluation"}
    assert min(detail["seconds"].values()) > 0
    defaults = {**asdict(parse_recipe(RECIPE)), "alphas": []}
    assert detail["recipe"] == defaults, "which the cell does not repeat"
    assert detail["inference"] == asdict(Inference(object_threshold=0.0))
    assert json.loads(json.dumps(detail)) == detail
    assert list(detail["by_size"]) == ["small", "medium", "large"]
    assert 0 <= detail["miou"]["miou"] <= 100 and detail["miou"]["classes"] > 1
    assert 0 <= detail["ap"]["ap"] <= 100 and detail["ap"]["categories"] > 1
    assert detail["parts"] == {} and "focus" not in detail, "photos have no parts"

    assert list(detail["per_image"]) == ["1", "2"], "as many images as asked for"
    stats = [ImageStats.from_json(one) for one in detail["per_image"].values()]
    categories = CocoPanoptic(tiny_root, "val2017").categories
    again = summarise(accumulate(stats), categories.things, categories.stuff)
    assert again["all"].pq == pytest.approx(detail["all"]["pq"]), "the score can be derived again"

    training = [event for event in events if event["phase"] == "training"]
    assert [event["done"] for event in training] == [1, 2]
    assert {event["total"] for event in training} == {2}, "the bar's length, and no loss"
    assert {"class", "mask", "dice"} <= training[0].keys()
    assert [event["done"] for event in events if event["phase"] == "evaluating"] == [1, 2]


def test_the_seed_decides_the_outcome(tiny_cell: MakeCell, context: Context, tmp_path: Path) -> None:
    def score(name: str, seed: int) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        cell = tiny_cell(options={**OPTIONS, "recipe": {**RECIPE, "seed": seed}})
        return quality.measure(cell, replace(context, work=str(folder))).detail["per_image"]

    first = score("a", 0)
    assert score("b", 0) == first
    assert score("c", 1) != first


def test_a_killed_training_goes_on_from_its_checkpoint(tiny_cell: MakeCell, context: Context) -> None:
    class Killed(Exception):
        pass

    def kill_at_the_second_step(**event: Any) -> None:
        if event["done"] == 2:
            raise Killed

    cell = tiny_cell(options={**OPTIONS, "recipe": {**RECIPE, "steps": 3, "checkpoint_every": 0}})
    with pytest.raises(Killed):
        quality.measure(cell, replace(context, report=kill_at_the_second_step))
    checkpoint = Path(context.work) / "training.pt"
    torch.save({**torch.load(checkpoint), "seconds": 1000.0}, checkpoint)
    events: list[dict[str, Any]] = []
    measured = quality.measure(cell, replace(context, report=lambda **event: events.append(event)))
    assert measured.detail["resumed_at_step"] == 1
    assert measured.detail["seconds"]["training"] > 1000, "the time before the kill counts"
    assert measured.detail["seconds"]["evaluation"] < 1000
    assert [event["done"] for event in events if event["phase"] == "training"] == [2, 3]


def test_a_warm_start_is_used_when_the_cell_asks_for_one(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    phases: list[str] = []
    cell = tiny_cell(options={**OPTIONS, "warm_start": {**RECIPE, "seed": 1}})
    quality.measure(cell, replace(context, report=lambda **event: phases.append(event["phase"])))
    assert list(dict.fromkeys(phases)) == ["warm start", "training", "evaluating"]


def test_files_that_another_process_loads_give_what_images_in_memory_give(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    trained = trainer.Trainer.run

    def run(self: trainer.Trainer) -> None:
        asked.append((type(self.dataset), self.workers))
        trained(self)

    monkeypatch.setattr(trainer.Trainer, "run", run)
    cell = tiny_cell(options={**OPTIONS, "warm_start": {**RECIPE, "seed": 1}})
    scores = []
    for name, most in (("memory", memory.MOST_IN_MEMORY), ("files", 0)):
        monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / name))  # each makes the warm start
        monkeypatch.setattr(memory, "MOST_IN_MEMORY", most)
        scores.append(quality.measure(cell, replace(context, cores=2)).detail["per_image"])
    assert asked == [(InMemory, 0)] * 2 + [(CocoPanoptic, 1)] * 2, "the warm start, and the training"
    assert scores[0] == scores[1]
    starts = [torch.load(path) for path in sorted(tmp_path.glob("*/warm-start-*.pt"))]
    weights = [{part: start[part] for part in ("backbone", "decoder")} for start in starts]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


# --- the parts of an embedded set ------------------------------------------------------------------------------------


@pytest.fixture
def in_parts(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """A cell that trains on a mix and is scored on three parts."""

    def small(part: str, size: int, counts: dict[str, int], progress: Any, workers: int) -> Path:
        counts = {split: min(count, 3) for split, count in counts.items()}
        return embedded_root(part, size, counts, progress=progress, workers=workers)

    monkeypatch.setattr(training_options, "embedded_root", small)  # the whole set takes half a minute
    options = {"recipe": {**RECIPE, "steps": 1}, "inference": {}, "parts": {"base": 2, "context": 3, "thin": 1}}
    return tiny_cell(dataset="embedded/mixed", options=options)


def test_the_first_part_is_the_score_and_the_others_stand_apart(in_parts: Cell, context: Context) -> None:
    events: list[dict[str, Any]] = []
    context = replace(context, inputs={}, report=lambda **event: events.append(event))
    detail = quality.measure(in_parts, context).detail
    assert list(detail["per_image"]) == ["1", "2"]
    assert {part: len(scores["per_image"]) for part, scores in detail["parts"].items()} == {"context": 3, "thin": 1}
    panoptic = {"all", "things", "stuff", "by_size", "per_image", "focus"}
    assert panoptic | {"miou", "ap"} < detail.keys()
    assert all(scores.keys() == panoptic for scores in detail["parts"].values()), "of the others, PQ says it all"
    assert json.loads(json.dumps(detail)) == detail
    evaluating = [event["phase"] for event in events if event["phase"].startswith("evaluating")]
    assert evaluating == ["evaluating base"] * 2 + ["evaluating context"] * 3 + ["evaluating thin"]


def test_the_focus_is_on_the_classes_that_a_part_is_about(
    in_parts: Cell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every class is found once with an IoU of its own, so that a mean says which classes it is over."""
    rows = {c: CategoryStats(c / 100, 1, 0, 0) for c in range(len(CATEGORIES))}
    stats = ImageStats(rows)
    found = Evaluation({1: stats}, {1: {size: ImageStats() for size in ("small", "medium", "large")}})
    monkeypatch.setattr(quality, "evaluate", lambda *_: found)
    measured = quality.measure(in_parts, context)
    detail = measured.detail
    told_apart = [c for c in CATEGORIES.things if CATEGORIES[c].name in ("light diamond", "dark diamond")]
    plain = CATEGORIES.things - {*told_apart}
    assert measured.samples == [pytest.approx(sum(rows) / len(rows))], "the score is over all classes"
    focuses = {"base": detail["focus"], **{part: scores["focus"] for part, scores in detail["parts"].items()}}
    for part, about in (("base", plain), ("context", told_apart)):
        pq = pytest.approx(sum(about) / len(about))
        assert focuses[part] == {"pq": pq, "sq": pq, "rq": 100, "categories": len(about)}
    assert 2 < focuses["thin"]["categories"] < len(plain), "some shapes have no outline"
    assert detail["parts"]["context"]["all"] == detail["all"]

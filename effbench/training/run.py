"""Train a model of one's own choice into a folder, and evaluate what lies in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.quality import accumulate, summarise
from effbench.training.checkpoint import load, save_atomic
from effbench.training.evaluate import Inference, evaluate
from effbench.training.trainer import Recipe, StepReport, Trainer

MODEL, WEIGHTS, UNFINISHED = "model.json", "weights.pt", "training.pt"


def train(
    model: dict[str, Any], data_root: Path, recipe: Recipe, out: Path, on_step: Callable[[StepReport], None]
) -> Path:
    """Train on `data_root`'s train2017 into `out`/weights.pt, from the checkpoint in `out` if there is one.

    `model` holds the arguments of `build_segmenter`; it and the recipe are kept in `out`/model.json, and a folder
    that holds another model or recipe is refused with InputError.
    """
    data = CocoPanoptic(data_root, "train2017")
    described = json.dumps(
        {"model": {**model, "num_classes": len(data.categories)}, "recipe": asdict(recipe)}, indent=1
    )
    description = out / MODEL
    if description.exists() and json.loads(description.read_text()) != json.loads(described):
        raise InputError(f"{description} describes another model or recipe; name another folder, or remove {out}")
    out.mkdir(parents=True, exist_ok=True)
    description.write_text(described)
    torch.manual_seed(recipe.seed)
    segmenter = build_segmenter(num_classes=len(data.categories), **model)
    Trainer(segmenter, data, len(data.categories), recipe, out / UNFINISHED, on_step).run()
    save_atomic(segmenter.state_dict(), out / WEIGHTS)
    return out / WEIGHTS


def load_model(folder: Path) -> Segmenter:
    """The trained model in `folder`. Raises InputError when there is none, or when its weights are another model's."""
    for name in (MODEL, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} not found; expected a folder that `effbench train --out` has finished")
    segmenter = build_segmenter(**_tuples(json.loads((folder / MODEL).read_text())["model"]))
    state = load(folder / WEIGHTS)
    own = segmenter.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise InputError(
            f"{folder / WEIGHTS} is of another architecture than {MODEL} says: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}; train again"
        )
    segmenter.load_state_dict(state)
    return segmenter


def score(
    folder: Path, data_root: Path, limit: int | None, how: Inference, on_image: Callable[[int, int], None]
) -> dict[str, Any]:
    """PQ, SQ, RQ in percent of the model in `folder` on `data_root`'s val2017: all, things, stuff."""
    data = CocoPanoptic(data_root, "val2017", limit=limit)
    stats = evaluate(load_model(folder), data, how, on_image)
    groups = summarise(accumulate(stats.values()), data.categories.things, data.categories.stuff)
    return {"images": len(stats), **{name: result._asdict() for name, result in groups.items()}}


def _tuples(model: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in model.items()}

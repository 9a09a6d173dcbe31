"""Train a model of one's own choice into a folder, and evaluate what lies in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.study.cell import tuples
from effbench.study.data_root import identify
from effbench.training.checkpoint import load, save_atomic
from effbench.training.evaluate import Inference, evaluate, scores
from effbench.training.trainer import Recipe, StepReport, Trainer

MODEL, WEIGHTS, UNFINISHED = "model.json", "weights.pt", "training.pt"


def train(
    model: dict[str, Any], data_root: Path | None, recipe: Recipe, out: Path, on_step: Callable[[StepReport], None]
) -> Path:
    """Train on train2017 of `data_root` (None: of the embedded set) into `out`/weights.pt.

    A checkpoint in `out` is gone on from. `model` holds the arguments of `build_segmenter`; what is trained, and on
    what, is kept in `out`/model.json, and a folder that holds something else is refused with InputError.
    """
    with torch.device("meta"):
        build_segmenter(num_classes=1, **model)  # a bad setting is refused before any data is made
    data_root = data_root or embedded_root()
    data = CocoPanoptic(data_root, "train2017")
    described = json.dumps(
        {
            "model": {**model, "num_classes": len(data.categories)},
            "data": identify(data_root, ["train2017"]),
            "recipe": asdict(recipe),
        },
        indent=1,
    )
    description = out / MODEL
    if description.exists() and json.loads(description.read_text()) != json.loads(described):
        raise InputError(f"{description} describes another model, data set or recipe; name another folder or remove it")
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
    segmenter = build_segmenter(**tuples(json.loads((folder / MODEL).read_text())["model"]))
    state = load(folder / WEIGHTS)
    own = segmenter.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or unexpected or other:
        raise InputError(
            f"{folder / WEIGHTS} is of another architecture than {MODEL} says: missing {missing[:5]}, "
            f"unexpected {unexpected[:5]}, of another shape {other[:5]}; train again"
        )
    segmenter.load_state_dict(state)
    return segmenter


def score(
    folder: Path, data_root: Path | None, limit: int | None, how: Inference, on_image: Callable[[int, int], None]
) -> dict[str, Any]:
    """PQ, SQ, RQ in percent of the model in `folder` on val2017 of `data_root` (None: of the embedded set).

    Raises InputError when the data set has other classes than the model was trained on.
    """
    model = load_model(folder)
    data = CocoPanoptic(data_root or embedded_root(), "val2017", limit=limit)
    classes = json.loads((folder / MODEL).read_text())["model"]["num_classes"]
    if classes != len(data.categories):
        raise InputError(
            f"the model in {folder} knows {classes} classes, {data.annotation_file} has {len(data.categories)}; "
            "expected the data set that it was trained on"
        )
    stats = evaluate(model, data, how, on_image)
    return {"images": len(stats), **scores(stats, data)}

"""Train a cell's model by its recipe and score it: PQ with the statistics of every image kept, mIoU_p and AP_p.

A killed run resumes from its checkpoint. The cell's options: `recipe` (fields of `Recipe`), `inference` (fields
of `Inference`), `images` (how many validation images, None for all), `warm_start` (fields of its `Recipe`, or None),
and of an embedded set `train_images` (how many to train on) and `parts` (part -> validation images, each scored
apart; the first one is the cell's score). One of the context's cores trains, the others load images ahead.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded_recipe import focus
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, Measurement, needs_device, segmenter
from effbench.probes.conditions import plain_conditions
from effbench.probes.training_options import parse_recipe, train, validation_sets
from effbench.quality import accumulate, summarise
from effbench.study.cell import Cell
from effbench.training.evaluate import Inference, evaluate, per_image, scores

NAME = "quality"
VERSION = "2"
INSIDE = "panoptic quality over the validation images after training"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent over the validation images: one sample. The detail has every score of `scores`."""
    how = plain_conditions(cell, NAME)  # or convolutions on a GPU would be in TF32, PyTorch's default, without a word
    with how.applied():
        measured = _measured(cell, context)
    return replace(measured, detail={**measured.detail, "conditions": how.to_json()})


def _measured(cell: Cell, context: Context) -> Measurement:
    recipe = parse_recipe(cell.options["recipe"])
    torch.manual_seed(recipe.seed)
    model = segmenter(cell)
    checkpoint = Path(context.work) / "training.pt"
    trainer = train(model, cell, context, checkpoint, "training")
    began = time.monotonic()
    how = Inference(**cell.options["inference"])
    first, *others = validation_sets(cell, context)
    panoptic = replace(how, semantic=False, instances=False)  # of the further parts, PQ says it all
    detail = {
        **_scored(model, first, how, context),
        "parts": {name: _scored(model, (name, part), panoptic, context) for name, part in others},
        "recipe": {**asdict(recipe), "alphas": list(recipe.alphas)},
        "inference": asdict(how),
        "seconds": {"training": trainer.seconds, "evaluation": time.monotonic() - began},
        "resumed_at_step": trainer.resumed_at,
    }
    checkpoint.unlink(missing_ok=True)
    return Measurement([detail["all"]["pq"]], "%", detail, model.encoder.implementation())


def _scored(model: Segmenter, named: tuple[str, CocoPanoptic], how: Inference, context: Context) -> dict[str, Any]:
    """All scores on one set; of an embedded part also "focus", PQ over the classes that it is about."""
    name, data = named
    phase = f"evaluating {name}".strip()
    evaluation = evaluate(model, data, how, lambda done, total: context.report(done=done, total=total, phase=phase))
    answer = {**scores(evaluation, data), "per_image": per_image(evaluation.images)}
    if name:
        about = focus(name)
        totals = accumulate(evaluation.images.values()).items()
        answer["focus"] = summarise({c: counts for c, counts in totals if c in about}, about, ())["all"]._asdict()
    return answer

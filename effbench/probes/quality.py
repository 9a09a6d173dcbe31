"""Train a cell's model by its recipe and score it: PQ, SQ, RQ with the statistics of every image kept.

A killed run resumes from its checkpoint. The cell's options: `recipe` (fields of `Recipe`), `inference` (fields
of `Inference`), `images` (how many validation images, None for all), `warm_start` (fields of its `Recipe`, or None).
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.memory import InMemory
from effbench.probes.base import Context, Measurement, needs_device, segmenter
from effbench.probes.training_options import data_root, is_embedded, parse_recipe, parse_warm_start, show_training
from effbench.study.cell import Cell
from effbench.training import warm_start
from effbench.training.evaluate import Inference, evaluate, per_image, scores
from effbench.training.trainer import Trainer

NAME = "quality"
VERSION = "1"
INSIDE = "panoptic quality over the validation images after training"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent over the validation images: one sample."""
    root = data_root(cell, context)
    data = CocoPanoptic(root, "train2017")
    recipe = parse_recipe(cell.options["recipe"])
    torch.manual_seed(recipe.seed)
    model = segmenter(cell)
    start = parse_warm_start(cell)
    if start is not None:
        warm_start.apply(warm_start.make(start, root, show_training(context, "warm start")), model)
    checkpoint = Path(context.work) / "training.pt"
    dataset = InMemory(data) if is_embedded(cell) else data
    trainer = Trainer(model, dataset, cell.classes, recipe, checkpoint, show_training(context, "training"))
    trainer.run()
    began = time.monotonic()
    validation = CocoPanoptic(root, "val2017", limit=cell.options["images"])
    how = Inference(**cell.options["inference"])
    stats = evaluate(
        model, validation, how, lambda done, total: context.report(done=done, total=total, phase="evaluating")
    )
    detail = {
        **scores(stats, validation),
        "per_image": per_image(stats),
        "recipe": asdict(recipe),
        "inference": asdict(how),
        "seconds": {"training": trainer.seconds, "evaluation": time.monotonic() - began},
        "resumed_at_step": trainer.resumed_at,
    }
    checkpoint.unlink(missing_ok=True)
    return Measurement([detail["all"]["pq"]], "%", detail, model.encoder.implementation())

"""Train a cell's model by its recipe and score it: PQ, SQ, RQ with the statistics of every image kept.

A killed run resumes from its checkpoint. The cell's options: `recipe` (fields of `Recipe`), `inference` (fields
of `Inference`), `images` (how many validation images, None for all), `warm_start` (fields of `WarmStart`, or None).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root
from effbench.data.memory import InMemory
from effbench.probes.base import Context, Measurement, segmenter
from effbench.quality import ImageStats, accumulate, summarise
from effbench.study.cell import Cell
from effbench.training import warm_start
from effbench.training.criterion import CriterionSettings
from effbench.training.evaluate import Inference, evaluate
from effbench.training.trainer import Recipe, StepReport, Trainer

NAME = "quality"
VERSION = "1"

EMBEDDED = "embedded/"


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent over the validation images: one sample."""
    root = data_root(cell, context)
    options = cell.options
    data = CocoPanoptic(root, "train2017")
    recipe = parse_recipe(options["recipe"])
    began = time.monotonic()
    torch.manual_seed(recipe.seed)
    model = segmenter(cell)
    start = parse_warm_start(cell)
    if start is not None:
        warm_start.apply(warm_start.make(start, root, _training(context, "warm start")), model)
    checkpoint = Path(context.work) / "training.pt"
    small = cell.dataset.startswith(EMBEDDED)
    trainer = Trainer(
        model,
        InMemory(data) if small else data,
        cell.classes,
        recipe,
        checkpoint,
        _training(context, "training"),
    )
    trainer.run()
    trained = time.monotonic()
    validation = CocoPanoptic(root, "val2017", limit=options["images"])
    stats = evaluate(
        model,
        validation,
        Inference(**options["inference"]),
        lambda done, total: context.report(done=done, total=total, phase="evaluating"),
    )
    detail = quality_detail(stats, validation)
    detail["seconds"] = {"training": trained - began, "evaluation": time.monotonic() - trained}
    detail["resumed_at_step"] = trainer.resumed_at
    checkpoint.unlink(missing_ok=True)
    return Measurement([detail["all"]["pq"]], "%", detail, model.encoder.implementation())


def quality_detail(stats: Mapping[int, ImageStats], data: CocoPanoptic) -> dict[str, Any]:
    """PQ, SQ, RQ of all, things and stuff in percent, and every image's statistics, as plain JSON."""
    groups = summarise(accumulate(stats.values()), data.categories.things, data.categories.stuff)
    return {
        **{name: result._asdict() for name, result in groups.items()},
        "per_image": {str(image): image_stats.to_json() for image, image_stats in stats.items()},
    }


def data_root(cell: Cell, context: Context) -> Path:
    """The data set's folder: generated if the cell's is an embedded part, else the context's data root."""
    if cell.dataset.startswith(EMBEDDED):
        return embedded_root(
            cell.dataset.removeprefix(EMBEDDED),
            progress=lambda done, total: context.report(done=done, total=total, phase="generating images"),
        )
    return Path(context.inputs["data_root"])


def parse_recipe(fields: Mapping[str, Any]) -> Recipe:
    """A Recipe from plain JSON."""
    return Recipe(**{**fields, "criterion": CriterionSettings(**fields.get("criterion", {}))})


def parse_warm_start(cell: Cell) -> warm_start.WarmStart | None:
    """The warm start that the cell's options ask for."""
    fields = cell.options.get("warm_start")
    if fields is None:
        return None
    return warm_start.WarmStart(
        cell.backbone, cell.width["dim"], cell.queries, cell.decoder_settings, parse_recipe(fields)
    )


def _training(context: Context, phase: str) -> Any:
    def on_step(report: StepReport) -> None:
        shown = {name: round(loss, 2) for name, loss in report.losses.items()}
        context.report(done=report.step, total=report.steps, phase=phase, **shown)

    return on_step

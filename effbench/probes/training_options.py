"""What training probes make of a cell: its data, recipe and warm start, and how their progress is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import DEFAULT_COUNTS, embedded_root
from effbench.data.memory import image_source
from effbench.data.roots import open_split
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, parse_size
from effbench.study.cell import Cell
from effbench.training import warm_start
from effbench.training.criterion import CriterionSettings
from effbench.training.trainer import Recipe, StepReport, Trainer
from effbench.training.warm_start import WarmStart

EMBEDDED = "embedded/"


def data_root(cell: Cell, context: Context) -> Path:
    """The data set's folder: generated at the cell's size if it is an embedded part, else the context's data root.

    options["train_images"] is the number of generated images to train on, by default `DEFAULT_COUNTS`'.
    """
    if not is_embedded(cell):
        return Path(context.inputs["data_root"])
    return embedded_root(
        cell.dataset.removeprefix(EMBEDDED),
        size=parse_size(cell.size)[0],
        counts={**DEFAULT_COUNTS, "train2017": cell.options.get("train_images", DEFAULT_COUNTS["train2017"])},
        progress=_making(context),
        workers=context.cores,
    )


def validation_sets(cell: Cell, context: Context) -> list[tuple[str, CocoPanoptic]]:
    """(name, images) to score a cell's model on, the first one for the cell's own score.

    Of an embedded set: its `parts`, from options["parts"] (part -> number of images). Otherwise the data root's
    validation images, as many as options["images"] says, without a name.
    """
    if "parts" not in cell.options:
        return [("", open_split(data_root(cell, context), "val", cell.options["images"]))]
    sets, size = [], parse_size(cell.size)[0]
    for part, images in cell.options["parts"].items():
        counts = {"val2017": images}
        root = embedded_root(part, size, counts, progress=_making(context), workers=context.cores)
        sets.append((part, open_split(root, "val")))
    return sets


def _making(context: Context) -> Callable[[int, int], None]:
    return lambda done, total: context.report(done=done, total=total, phase="generating images")


def is_embedded(cell: Cell) -> bool:
    """Whether the cell's data are generated."""
    return cell.dataset.startswith(EMBEDDED)


def parse_recipe(fields: Mapping[str, Any]) -> Recipe:
    """A Recipe from plain JSON."""
    return Recipe(**{**fields, "criterion": CriterionSettings(**fields.get("criterion", {}))})


def parse_warm_start(cell: Cell) -> WarmStart | None:
    """The warm start that the cell's options ask for, or None."""
    fields = cell.options.get("warm_start")
    if fields is None:
        return None
    images = cell.options.get("train_images")
    return WarmStart(
        dataset=f"{cell.dataset} {cell.size}" + ("" if images is None else f", {images} images"),
        backbone=cell.backbone,
        backbone_settings=cell.backbone_settings,
        dim=cell.width["dim"],
        queries=cell.queries,
        decoder_settings=cell.decoder_settings,
        recipe=parse_recipe(fields),
        device=cell.device,
    )


def show_training(context: Context, phase: str) -> Callable[[StepReport], None]:
    """A trainer's `on_step` that reports steps and losses."""

    def on_step(report: StepReport) -> None:
        shown = {name: round(loss, 2) for name, loss in report.losses.items()}
        context.report(done=report.step, total=report.steps, phase=phase, **shown)

    return on_step


def train(model: Segmenter, cell: Cell, context: Context, checkpoint: Path, phase: str) -> Trainer:
    """Give `model` the cell's warm start, if it has one, and train it by the cell's recipe; goes on from `checkpoint`.

    Returns the trainer, which knows how long that took.
    """
    root = data_root(cell, context)
    data, recipe, start = open_split(root, "train"), parse_recipe(cell.options["recipe"]), parse_warm_start(cell)
    if start is not None:
        shared = warm_start.make(start, root, show_training(context, "warm start"), context.cores - 1)
        warm_start.apply(shared, model)
    dataset, workers = image_source(data, recipe.visits, context.cores - 1)
    trainer = Trainer(model, dataset, cell.classes, recipe, checkpoint, show_training(context, phase), workers)
    trainer.run()
    return trainer

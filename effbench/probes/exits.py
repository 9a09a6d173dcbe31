"""Step A of ECO-M2F: train a model for its exits, and score it at each of them."""

from __future__ import annotations

import time
from typing import Any

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.exit_models import derived, trained
from effbench.quality import accumulate, bootstrap_pq, interval, summarise
from effbench.study.cell import Cell
from effbench.training.derived import Derived

NAME = "exits"
VERSION = "1"
INSIDE = "panoptic quality of the deepest exit over the validation images after training"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent of the deepest exit: one sample. The detail has all exits, and every image's statistics at each."""
    model = trained(cell, context)
    began = time.monotonic()
    validation, data = derived(cell, context, model, "val")
    scored = time.monotonic() - began
    exits = {str(layer): _scores(validation, place, data) for place, layer in enumerate(validation.exits)}
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "exits": exits,
        "per_image": {
            str(image): [stats.to_json() for stats in found.stats] for image, found in validation.images.items()
        },
        "recipe": cell.options["recipe"],
        "seconds": {"training": model.seconds, "evaluation": scored},
        "cached": model.cached,
        "weights": model.path.name,
    }
    deepest = exits[str(validation.exits[-1])]["all"]["pq"]
    return Measurement([deepest], "%", detail, model.model.encoder.implementation())


def _scores(derived: Derived, place: int, data: CocoPanoptic) -> dict[str, Any]:
    stats = [image.stats[place] for image in derived.images.values()]
    categories = data.categories
    found: dict[str, Any] = {
        name: result._asdict()
        for name, result in summarise(accumulate(stats), categories.things, categories.stuff).items()
    }
    found["interval"] = list(interval(bootstrap_pq(stats, categories.things | categories.stuff)))
    return found

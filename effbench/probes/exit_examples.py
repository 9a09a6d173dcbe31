"""Images beside what a gated model makes of them: where each left, and what the deepest exit would have given."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from effbench.data.annotations import Categories
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.encoders.contract import exits_of
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.conditions import plain_conditions
from effbench.probes.exit_models import derived, gated
from effbench.quality import PanopticMap, image_pq, match_segments, tally
from effbench.study.cell import Cell
from effbench.training.evaluate import Inference, predict

NAME = "exit_examples"
VERSION = "1"
INSIDE = "mean over the shown images of PQ where the gate left minus PQ at the deepest exit"
missing = needs_device

IMAGES = 8
LONGEST = 320
"""Pixels of a picture's longer side: enough to look at, and no more than a record should carry."""
BORDER = (255, 255, 255)


def measure(cell: Cell, context: Context) -> Measurement:
    """A sample for each of up to `IMAGES` validation images: PQ in points that the gate gave away (below 0) or won.

    Every exit that the gate of `options["gate"]` takes is shown, in turn. The detail has the pictures, as PNG files in
    base64: the image, and truth, gated and deepest prediction, a colour for every category.
    """
    model, gate = gated(cell, context)
    validation, data = derived(cell, context, model, "val")
    how = replace(Inference(**cell.options["inference"]), semantic=False, instances=False)
    chosen = _spread(gate.choose(validation).tolist(), IMAGES)
    with plain_conditions(cell, NAME).applied():
        shown = [_example(model.model, data, place, how) for place in chosen]
    samples = [example["gated"]["pq"] - example["deepest"]["pq"] for example in shown]
    detail: dict[str, Any] = {"inside": INSIDE, "gate": cell.options["gate"], "examples": shown}
    return Measurement(samples, "%", detail, model.model.encoder.implementation())


def _spread(exits: Sequence[int], count: int) -> list[int]:
    """Places of up to `count` images, the first of every exit, then the second, ..., ordered by exit."""
    of_exit = [[place for place, exit in enumerate(exits) if exit == layer] for layer in sorted(set(exits))]
    turns = [place for turn in itertools.zip_longest(*of_exit) for place in turn if place is not None]
    return sorted(turns[:count], key=lambda place: (exits[place], place))


def _example(model: Segmenter, data: CocoPanoptic, place: int, how: Inference) -> dict[str, Any]:
    sample, things = data[place], data.categories.things
    truth = PanopticMap(sample.id_map, sample.segments)
    photo = Image.fromarray(sample.image.permute(1, 2, 0).numpy())
    pictures = {"image": photo, "truth": _painted(truth, data.categories)}
    answer: dict[str, Any] = {"image_id": sample.image_id}
    for name, exit in (("gated", None), ("deepest", max(exits_of(model.encoder)))):
        found = predict(model, sample, things, how, exit)
        stats = tally(match_segments(truth, found.panoptic))
        answer[name] = {"exit": found.exit, "pq": image_pq(stats)}
        pictures[name] = _painted(found.panoptic, data.categories)
    return answer | {"pictures": {name: _encoded(picture) for name, picture in pictures.items()}}


def _painted(found: PanopticMap, categories: Categories) -> Image.Image:
    """Every segment in its category's colour, with a light line between segments; void is black."""
    ids = np.asarray(found.id_map)
    colours = np.zeros((*ids.shape, 3), np.uint8)
    for segment in found.segments:
        colours[ids == segment.id] = categories[segment.category].color
    colours[:, 1:][ids[:, 1:] != ids[:, :-1]] = BORDER
    colours[1:][ids[1:] != ids[:-1]] = BORDER
    return Image.fromarray(colours)


def _encoded(picture: Image.Image) -> str:
    picture = picture.copy()
    picture.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()

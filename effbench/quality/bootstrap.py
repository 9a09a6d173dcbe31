"""How far PQ would move with other images of the same kind: bootstrap over images.

Per-image statistics are resampled and accumulated, so no inference is repeated. The spread over training seeds is
another matter, which no resampling of images can show.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from effbench.errors import InputError
from effbench.quality.panoptic import ImageStats, accumulate, summarise

Floats = npt.NDArray[np.float64]
Image = TypeVar("Image", bound=Hashable)


def bootstrap_pq(
    images: Sequence[ImageStats], categories: Collection[int], resamples: int = 1000, seed: int = 0
) -> Floats:
    """PQ in percent, averaged over those of `categories` that are present, of `resamples` draws of the images.

    With the same seed and as many images, draw i takes the same images: differences of two systems are paired.
    Returns (resamples,).
    """
    index = {category: row for row, category in enumerate(sorted(categories))}
    counts = np.zeros((len(images), len(index), 4))  # IoU sum, true positives, false positives, false negatives
    for image, stats in enumerate(images):
        for category, s in stats.items():
            if category in index:
                counts[image, index[category]] = s.iou_sum, s.tp, s.fp, s.fn
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), size=resamples)
    totals = (weights @ counts.reshape(len(images), -1)).reshape(resamples, len(index), 4)
    iou, tp, fp, fn = np.moveaxis(totals, -1, 0)
    weight = tp + 0.5 * fp + 0.5 * fn
    present = weight > 0
    pq = np.divide(iou, weight, out=np.zeros_like(iou), where=present)
    return 100 * pq.sum(1) / np.maximum(present.sum(1), 1)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The central interval that holds a share `level` of the values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Difference(NamedTuple):
    """How much PQ changes from one system to another, in percentage points, and the interval around it.

    `categories` is the number of categories that either system's PQ is averaged over; all is 0 where there are none.
    """

    difference: float
    low: float
    high: float
    categories: int


def pq_difference(
    before: Mapping[Image, ImageStats],
    after: Mapping[Image, ImageStats],
    things: Collection[int],
    stuff: Collection[int],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """PQ of `after` minus PQ of `before` for "all", "things" and "stuff", with paired bootstrap intervals.

    Both map an image to its statistics, in any order. Each draw takes the same images for both systems, so what makes
    an image hard or easy for both falls out.

    Raises InputError when the images differ or there are none, and as `summarise` does.
    """
    if before.keys() != after.keys() or not before:
        alone = [sorted(map(str, one.keys() - other.keys()))[:5] for one, other in ((before, after), (after, before))]
        raise InputError(
            f"the two systems were scored on {len(before)} and {len(after)} images, only the first on {alone[0]}, only "
            f"the second on {alone[1]}; expected the same images, at least one: score both on the same set"
        )
    pairs = list(before.values()), [after[image] for image in before]
    totals = [accumulate(stats) for stats in pairs]
    scores = [summarise(total, things, stuff) for total in totals]
    differences = {}
    for name, group in {"all": {*things, *stuff}, "things": set(things), "stuff": set(stuff)}.items():
        draws = [bootstrap_pq(stats, group, resamples, seed) for stats in pairs]
        present = {c for total in totals for c, counts in total.items() if c in group and counts.present}
        change = scores[1][name].pq - scores[0][name].pq
        differences[name] = Difference(change, *interval(draws[1] - draws[0], level), len(present))
    return differences

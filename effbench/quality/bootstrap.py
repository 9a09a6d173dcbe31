"""How far PQ would move with other images of the same kind: bootstrap over images.

Per-image statistics are resampled and accumulated, so no inference is repeated. The spread over training seeds is
another matter, which no resampling of images can show.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from effbench.quality.panoptic import ImageStats

Floats = npt.NDArray[np.float64]


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

"""Step B of ECO-M2F: derive what every exit is worth for every training image, and sum it up."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.exit_models import derived, trained
from effbench.study.cell import Cell
from effbench.training.derived import Derived

NAME = "derivation"
VERSION = "1"
INSIDE = "every training image through the encoder once, and through the decoder for every exit"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds spent here: near zero when the derived data set was in the cache.

    The detail has, of training and validation images, the histogram of best exits and the mean over images of PQ in
    percent at every exit.
    """
    model = trained(cell, context)
    began = time.monotonic()
    training, _ = derived(cell, context, model, "train")
    seconds = time.monotonic() - began
    validation, _ = derived(cell, context, model, "val")
    found = {"train": training, "val": validation}
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "images": {split: len(one.images) for split, one in found.items()},
        "best_exits": {split: best_exits(one) for split, one in found.items()},
        "mean_pq": {split: mean_pq(one) for split, one in found.items()},
        "provenance": dict(training.provenance),
        "weights": model.path.name,
    }
    return Measurement([seconds], "s", detail, model.model.encoder.implementation())


def best_exits(derived: Derived) -> dict[str, int]:
    """exit -> images whose PQ is highest there, the earliest of several: the histogram of the paper's figure 2."""
    best = derived.quality().argmax(1)
    return {str(layer): int(np.sum(best == place)) for place, layer in enumerate(derived.exits)}


def mean_pq(derived: Derived) -> dict[str, float]:
    """exit -> mean over images of PQ in percent."""
    return {str(layer): 100 * float(pq) for layer, pq in zip(derived.exits, derived.quality().mean(0), strict=True)}

"""Make the embedded data and the warm start that a study's quality cells share, and say how long that took."""

from __future__ import annotations

import time

from effbench.errors import InputError
from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.conditions import plain_conditions
from effbench.probes.training_options import data_root, parse_warm_start, show_training, validation_sets
from effbench.study.cell import Cell
from effbench.training import warm_start
from effbench.training.checkpoint import load

NAME = "warm_start"
VERSION = "1"
INSIDE = "making the data and the warm start, or finding them in the cache"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds spent here: near zero when both were in the cache, which the detail says."""
    start = parse_warm_start(cell)
    if start is None:
        raise InputError("the cell has no warm start; expected options['warm_start'] with a recipe")
    began = time.monotonic()
    root = data_root(cell, context)
    cached = warm_start.path_of(start).exists()
    if "parts" in cell.options:
        validation_sets(cell, context)  # made here with all cores, so that no training waits for another's
    with plain_conditions(cell, NAME).applied():
        path = warm_start.make(start, root, show_training(context, "warm start"), context.cores - 1)
    detail = {
        "cached": cached,
        "training_seconds": load(path)["seconds"],
        "data": root.name,
        "file": path.name,
    }
    return Measurement([time.monotonic() - began], "s", detail)

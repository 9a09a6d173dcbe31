"""Step C of ECO-M2F: train a gate for one trade-off from the derived data set, and say what it is worth."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np

from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.exit_models import derived, trained
from effbench.quality import accumulate, summarise
from effbench.study.cell import Cell
from effbench.training.gate import Choices, GateRecipe, target_exits, train_gate
from effbench.training.gate_value import chosen_stats, gate_value

NAME = "gate"
VERSION = "1"
INSIDE = "training of the gate, from the derived data set to its weights"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds of the gate's training: one sample.

    `options["gate"]` are the fields of a GateRecipe. The detail has targets and choices on training and validation
    images, and on the latter the quality and what it is worth: see `gate_value`.
    """
    recipe = GateRecipe(**cell.options["gate"])
    model = trained(cell, context)
    training, _ = derived(cell, context, model, "train")
    validation, data = derived(cell, context, model, "val")
    began = time.perf_counter()
    gate = train_gate(training, recipe)
    seconds = time.perf_counter() - began
    choices = gate.choose(validation)
    groups = summarise(accumulate(chosen_stats(validation, choices)), data.categories.things, data.categories.stuff)
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "recipe": asdict(recipe),
        "exits": list(gate.exits),
        "target": {
            name: _histogram(target_exits(found, recipe.beta, recipe.k), gate.exits)
            for name, found in (("train", training), ("val", validation))
        },
        "chosen": {
            "train": _histogram(gate.choose(training), gate.exits),
            "val": _histogram(choices, gate.exits),
        },
        "quality": {name: result._asdict() for name, result in groups.items()},
        "value": {m: asdict(gate_value(validation, choices, gate.exits, m)) for m in ("dataset", "image")},
        "choices": {str(image): int(layer) for image, layer in zip(validation.images, choices, strict=True)},
        "weights": model.path.name,
    }
    return Measurement([seconds], "s", detail)


def _histogram(layers: Choices, exits: tuple[int, ...]) -> dict[str, Any]:
    return {"mean": float(layers.mean()), "images": {str(layer): int(np.sum(layers == layer)) for layer in exits}}

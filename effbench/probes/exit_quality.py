"""Every score of an early-exit model that leaves where it is told, by a fixed exit or by a gate: PQ, mIoU_p, AP_p.

The derived data set knows the panoptic quality of every exit without another pass. This is the pass: the model runs as
its user runs it, gate included, and so proves that what was derived is what comes out.
"""

from __future__ import annotations

import time
from typing import Any

from effbench.errors import InputError
from effbench.probes.base import Context, Measurement, needs_device
from effbench.probes.conditions import plain_conditions
from effbench.probes.exit_models import derived, gated, trained
from effbench.quality import image_pq
from effbench.study.cell import Cell
from effbench.training.evaluate import Inference, evaluate, scores

NAME = "exit_quality"
VERSION = "1"
INSIDE = "panoptic quality over the validation images, each passed through the model to where it leaves"
missing = needs_device


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent: one sample. The detail has every score of `scores`, and where each image left.

    The cell's options have either `exit`, a layer, or `gate`, the fields of a GateRecipe, whose gate is trained from
    the derived data set.
    """
    how, exit = Inference(**cell.options["inference"]), cell.options.get("exit")
    if (exit is None) == ("gate" not in cell.options):
        raise InputError("exit_quality takes either an exit or a gate, and got both or neither; name one of them")
    model = gated(cell, context)[0] if "gate" in cell.options else trained(cell, context)
    validation, data = derived(cell, context, model, "val")
    began = time.monotonic()
    with plain_conditions(cell, NAME).applied():
        found = evaluate(
            model.model,
            data,
            how,
            lambda done, total: context.report(done=done, total=total, phase="evaluating"),
            exit=exit or "gate",
        )
    places = {image: validation.exits.index(layer) for image, layer in found.exits.items()}
    detail: dict[str, Any] = {
        "inside": INSIDE,
        **scores(found, data),
        "exits": {str(image): layer for image, layer in found.exits.items()},
        "histogram": {str(layer): list(found.exits.values()).count(layer) for layer in validation.exits},
        "mean_exit": sum(found.exits.values()) / len(found.exits),
        "as_derived": all(
            image_pq(stats) == image_pq(validation.images[image].stats[places[image]])
            for image, stats in found.images.items()
        ),
        "seconds": time.monotonic() - began,
        "weights": model.path.name,
    }
    return Measurement([detail["all"]["pq"]], "%", detail, model.model.encoder.implementation())

"""How far an encoder's outputs move when it runs in fewer bits, compiled or as a graph, against itself in float64.

A faster mode is only worth its time with its price beside it: the papers run this part in float32 and print no such
number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from effbench.encoders.contract import LEVELS, EncoderOutput
from effbench.probes.base import Context, Measurement, needs_device, segmenter
from effbench.probes.conditions import conditions
from effbench.probes.modes import as_run, in_form
from effbench.probes.whole_pass import random_images
from effbench.study.cell import Cell

NAME = "precision"
VERSION = "1"
INSIDE = "root mean square of the mask features' error over that of the mask features in float64"
missing = needs_device

SCALES = ("res5", "res4", "res3")


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """The relative error of the mask features: one sample. The detail has all maps', root mean square and largest.

    Weights are fresh and the same in both; the maps that the encoder reads are the backbone's in float32, on random
    images, so that what is rounded is the encoder's weights, inputs and arithmetic.
    """
    how = conditions(cell)
    torch.manual_seed(0)
    exact = segmenter(replace(cell, dtype="float32")).eval()
    features = exact.backbone(exact.prepare(random_images(replace(cell, dtype="float32"))))
    torch.manual_seed(0)
    encoder = segmenter(cell).eval().encoder
    implementation = encoder.implementation()
    height, width = (LEVELS["res2"] * side for side in features["res2"].shape[-2:])
    wanted = maps_of(exact.encoder.double()({name: x.double() for name, x in features.items()}))
    inputs = {name: x.to(how.dtype) for name, x in features.items()}
    with how.applied():
        found = maps_of(as_run(*in_form(encoder, inputs, how, (height, width)), how.mode)())
    errors = {name: relative_error(found[name].double(), wanted[name]) for name in wanted}
    detail: dict[str, Any] = {"inside": INSIDE, "conditions": how.to_json(), "outputs": errors}
    return Measurement([errors["mask_features"]["rms"]], "ratio", detail, implementation)


def maps_of(output: EncoderOutput) -> dict[str, Tensor]:
    """All maps of an output by name."""
    return {"mask_features": output.mask_features, **dict(zip(SCALES, output.multi_scale, strict=True))}


def relative_error(found: Tensor, wanted: Tensor) -> dict[str, float]:
    """Root mean square and largest absolute difference, both over the root mean square of what is wanted."""
    scale = wanted.square().mean().sqrt()
    difference = found - wanted
    return {
        "rms": float(difference.square().mean().sqrt() / scale),
        "largest": float(difference.abs().max() / scale),
    }

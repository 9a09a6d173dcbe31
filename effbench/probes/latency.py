"""Time of the encoder's forward: backbone maps in, mask features and three scales out.

The clock is the host's, with the device synchronised at both ends. Nothing but the encoder is inside it. All
samples are kept, none is dropped, and none is called best.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.data.roots import open_split, test_size
from effbench.data.transforms import resize_shortest
from effbench.encoders.contract import Encoder
from effbench.errors import InputError
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.probes.base import Context, Measurement, needs_device, parse_size, segmenter
from effbench.study.cell import Cell

NAME = "latency"
VERSION = "1"
INSIDE = "one forward of the encoder, from backbone maps to its output"
missing = needs_device

LEAST_WARM_UP, MOST_WARM_UP, FLAT = 2, 5, 0.05
Pyramid = Mapping[str, Tensor]


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds per forward.

    `cell.size` "HxW" times random maps of that image's pyramid; "data" times the maps that the backbone makes of
    the data root's first `options["images"]` photos, resized to 800/1333. `options["samples"]` are taken in all.
    """
    torch.manual_seed(0)
    model = segmenter(cell).eval()
    inputs = _photos(cell, context, model) if cell.size == "data" else [_random_pyramid(cell, model)]
    wanted = cell.options["samples"]
    samples: list[float] = []
    warm_up: list[float] = []
    per_input = -(-wanted // len(inputs))
    for i, pyramid in enumerate(inputs):
        # the first input warms the process up, the others only meet their size once
        warm_up += _warm_up(model.encoder, pyramid) if i == 0 else [_time(model.encoder, pyramid)]
        for _ in range(per_input):
            samples.append(_time(model.encoder, pyramid))
            context.report(done=len(samples), total=per_input * len(inputs), ms=1000 * samples[-1])
    return Measurement(
        samples,
        "s",
        {
            "inside": INSIDE,
            "clock": "host",
            "warm_up": warm_up,
            "sizes": [_size(p) for p in inputs],
        },
        model.encoder.implementation(),
    )


def _time(encoder: Encoder, pyramid: Pyramid) -> float:
    _synchronise(pyramid)
    start = time.perf_counter()
    encoder(pyramid)
    _synchronise(pyramid)
    return time.perf_counter() - start


def _synchronise(pyramid: Pyramid) -> None:
    if pyramid["res5"].is_cuda:
        torch.cuda.synchronize()


def _warm_up(encoder: Encoder, pyramid: Pyramid) -> list[float]:
    """Run until the last two times are within 5% of each other, but not forever."""
    times: list[float] = []
    while len(times) < MOST_WARM_UP:
        times.append(_time(encoder, pyramid))
        last = times[-2:]
        if len(times) >= LEAST_WARM_UP and max(last) - min(last) < FLAT * statistics.mean(last):
            break
    return times


def _random_pyramid(cell: Cell, model: Segmenter) -> Pyramid:
    height, width = parse_size(cell.size)
    if height % STRIDE or width % STRIDE:
        raise InputError(f"size {cell.size} is timed without padding; expected multiples of {STRIDE}")
    dtype = getattr(torch, cell.dtype)
    return {
        name: torch.randn(
            cell.batch, s.channels, height // s.stride, width // s.stride, device=cell.device, dtype=dtype
        )
        for name, s in model.backbone.features.items()
    }


def _photos(cell: Cell, context: Context, model: Segmenter) -> list[Pyramid]:
    data = open_split(context.inputs["data_root"], "val", limit=cell.options["images"])
    pyramids = []
    for i in range(len(data)):
        image = data[i].image[None].to(cell.device, getattr(torch, cell.dtype)) / 255
        size = resize_shortest((image.shape[2], image.shape[3]), *test_size(context.inputs["data_root"]))
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
        pyramids.append(model.backbone(model.prepare(image)))
    return pyramids


def _size(pyramid: Pyramid) -> str:
    height, width = pyramid["res2"].shape[-2:]
    return f"{4 * height}x{4 * width}"

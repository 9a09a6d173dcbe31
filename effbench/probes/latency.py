"""Time of the encoder's forward: backbone maps in, mask features and three scales out.

A sample is the device's time where the device has a clock of its own, else the host's with nothing but the encoder
inside; both are in the record. All samples are kept, none is dropped, and none is called best. The caches are warm:
one input follows itself.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.data.roots import open_split, test_size
from effbench.data.transforms import resize_shortest
from effbench.errors import InputError
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, parse_size, segmenter
from effbench.probes.clocks import Clock, Run, Sample, clock, launch_bound, synchronisations
from effbench.probes.modes import as_run, capture, graph_breaks, in_form
from effbench.probes.neighbours import processes
from effbench.probes.warm_up import warm_up
from effbench.probes.watch import Watch
from effbench.study.cell import Cell
from effbench.study.statistics import drift

NAME = "latency"
VERSION = "2"
INSIDE = "one forward of the encoder on a batch, from backbone maps to its output"
missing = conditions.missing

Pyramid = Mapping[str, Tensor]


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds per forward.

    `cell.size` "HxW" times random maps of that image's pyramid; "data" times the maps that the backbone makes of
    the data root's first `options["images"]` photos, resized to 800/1333. `options["samples"]` are taken in all,
    after a warm-up of at least `options["warm_up_s"]` (0) seconds; its other options: see `conditions`.
    """
    how = conditions.conditions(cell)
    if (how.mode != "eager" or how.fixed_size) and cell.size == "data":
        raise InputError(f'size "data" under {cell.conditions}; expected a size HxW, made or compiled for one size')
    before = processes(how.device)
    torch.manual_seed(0)
    with how.applied():
        model = segmenter(cell).eval()
        inputs = _photos(cell, context, model) if cell.size == "data" else [random_pyramid(cell, model)]
        size = (0, 0) if cell.size == "data" else parse_size(cell.size)
        formed = [in_form(model.encoder, pyramid, how, size) for pyramid in inputs]
        runs = [as_run(encoder, pyramid, how.mode) for encoder, pyramid in formed]
        timer = clock(how.device)
        warm = warm_up(lambda: timer.time(runs[0]).host, cell.options.get("warm_up_s", 0.0))
        # the first input warms the process up, the others only meet their size once
        met = [timer.time(run).host for run in runs[1:]]
        with Watch(how, before) as watch:
            samples = _samples(runs, timer, cell.options["samples"], context)
            waiting = launch_bound(*_medians(samples))
            replayed = _replayed(runs[0], timer, len(samples)) if waiting and how.mode == "eager" else None
    detail = {
        "inside": INSIDE,
        **watch.to_json(samples),
        **by_clock(samples),
        "warm_up": [*warm.times, *met],
        "warm_up_flat": warm.flat,
        "sizes": [_size(p) for p in inputs],
        "launch_bound": waiting,
        "synchronisations": synchronisations(runs[0], how.device),
        "graph": replayed,
        "graph_breaks": graph_breaks() if "compile" in how.mode else None,
    }
    return Measurement(detail[detail["clock"]], "s", detail, model.encoder.implementation())


def by_clock(samples: Sequence[Sample]) -> dict[str, Any]:
    """Seconds by each clock (`device` is None where there is none), which of the two is meant, and the drift in it."""
    host = [sample.host for sample in samples]
    device = [sample.device for sample in samples if sample.device is not None] or None
    return {
        "clock": "device" if device else "host",
        "host": host,
        "device": device,
        "drift": drift(device or host) if len(samples) > 1 else None,
    }


def _samples(runs: Sequence[Run], timer: Clock, wanted: int, context: Context) -> list[Sample]:
    """As many samples of each run as make `wanted` in all, rounded up."""
    samples: list[Sample] = []
    per_run = -(-wanted // len(runs))
    for run in runs:
        for _ in range(per_run):
            samples.append(timer.time(run))
            context.report(done=len(samples), total=per_run * len(runs), ms=1000 * samples[-1].host)
    return samples


def _medians(samples: Sequence[Sample]) -> tuple[float, float | None]:
    device = [sample.device for sample in samples if sample.device is not None]
    return statistics.median(s.host for s in samples), statistics.median(device) if device else None


def _replayed(run: Run, timer: Clock, wanted: int) -> dict[str, Any]:
    """The same work as a CUDA graph, which needs one launch: its samples by both clocks, or why it has none."""
    try:
        replay = capture(run)
        warm_up(lambda: timer.time(replay).host)
        return by_clock([timer.time(replay) for _ in range(wanted)])
    except RuntimeError as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def random_pyramid(cell: Cell, model: Segmenter) -> Pyramid:
    """Maps as the backbone would give them of images of `cell.size`; InputError for a size that would be padded."""
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

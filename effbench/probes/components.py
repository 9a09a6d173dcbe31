"""Time of the whole pass, and where in it the time goes: backbone, encoder, decoder, post-processing.

The clock is the host's, with the device synchronised at every boundary. That costs something itself, so passes with
and without boundaries take turns: what the components miss of their own pass is the residual, what the boundaries add
is their cost, and both are in the record.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from effbench.data.transforms import pad_to
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, parse_size, segmenter
from effbench.probes.clocks import HostClock, Sample, synchronise
from effbench.probes.mac_count import PARTS, count_part
from effbench.probes.neighbours import processes
from effbench.probes.roofline import rooflines
from effbench.probes.warm_up import warm_up
from effbench.probes.watch import Watch
from effbench.probes.whole_pass import COMPONENTS, end_to_end, marked, random_images
from effbench.study.cell import Cell

NAME = "components"
VERSION = "2"
INSIDE = "one pass from a batch of images to the answers of the three tasks, without boundaries"
missing = conditions.missing

Times = dict[str, float]


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds per pass on random images of `cell.size` "HxW" (the answers have the same size).

    `options["samples"]` passes without boundaries, and as many with them; warm_up_s, tf32, shared as for latency.
    Raises InputError for another mode than eager, whose components cannot be told apart.
    """
    how = conditions.plain_conditions(cell, NAME)
    before = processes(how.device)
    torch.manual_seed(0)
    with how.applied():
        model = segmenter(cell).eval()
        images = random_images(cell)
        timer = HostClock(how.device)
        warm = warm_up(lambda: timer.time(lambda: end_to_end(model, images)).host, cell.options.get("warm_up_s", 0.0))
        with Watch(how, before) as watch:
            plain, split, segments = _take_turns(model, images, timer, cell.options["samples"], context)
        mean = _means(split)
        bounds = rooflines(model, images, how, _macs(cell), mean)
    whole = [sample.host for sample in plain]
    detail = {
        "inside": INSIDE,
        **watch.to_json(plain),
        "clock": "host",
        "warm_up": list(warm.times),
        "warm_up_flat": warm.flat,
        "components": {name: [times[name] for times in split] for name in COMPONENTS},
        "with_boundaries": [times["whole"] for times in split],
        "mean_s": mean,
        "residual": 1 - sum(mean[name] for name in COMPONENTS) / mean["whole"],
        "sum_over_whole": sum(mean[name] for name in COMPONENTS) / statistics.mean(whole),
        "boundaries_cost": statistics.median(t["whole"] / w for t, w in zip(split, whole, strict=True)) - 1,
        "segments": segments,
        "roofline": bounds,
    }
    return Measurement(whole, "s", detail, model.encoder.implementation())


def split_pass(model: Segmenter, images: Tensor, device: torch.device) -> tuple[Times, int]:
    """Seconds of each component and of the `whole` of one pass with boundaries, and its number of segments."""
    began: Times = {}
    times: Times = {}

    def now() -> float:
        synchronise(device)
        return time.perf_counter()

    def enter(name: str) -> None:
        began[name] = now()

    def leave(name: str) -> None:
        times[name] = now() - began[name]

    with marked(model, enter, leave) as run:
        enter("whole")
        segments = run(images)
        leave("whole")
    return times, segments


def _take_turns(
    model: Segmenter, images: Tensor, timer: HostClock, wanted: int, context: Context
) -> tuple[list[Sample], list[Times], int]:
    """Passes without (A) and with boundaries (B) as A B, B A, A B, ...: drift hits both alike."""
    plain: list[Sample] = []
    split: list[Times] = []
    segments = 0
    for i in range(wanted):
        for bounded in (False, True) if i % 2 == 0 else (True, False):
            if bounded:
                times, segments = split_pass(model, images, timer.device)
                split.append(times)
            else:
                plain.append(timer.time(lambda: end_to_end(model, images)))
        context.report(done=i + 1, total=wanted, ms=1000 * plain[-1].host)
    return plain, split, segments


def _means(split: Sequence[Mapping[str, float]]) -> Times:
    """The mean of each component and of the whole: means, and no medians, sum to the mean of their sum."""
    return {name: statistics.fmean(times[name] for times in split) for name in (*COMPONENTS, "whole")}


@torch.inference_mode(False)  # inside it some operators reach the counter undecomposed, under other names
def _macs(cell: Cell) -> dict[str, int]:
    """part -> its multiply-accumulates in one pass (complete convention), an encoder's top-down resize included."""
    counted = segmenter(replace(cell, dtype="float32"), device="meta")
    padded = pad_to(parse_size(cell.size), STRIDE)
    return {p: cell.batch * count_part(counted, p, padded).by_component("complete")["total"] for p in PARTS}

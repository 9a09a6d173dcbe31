"""The ledger of early exit: image by image, what a gated model really executed, what it took and what it gave.

Layers are counted where they run, not assumed from the exit. The gated pass and the full one of an image take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.data.transforms import pad_to
from effbench.encoders.contract import EarlyExit
from effbench.errors import InputError
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, segmenter
from effbench.probes.clocks import HostClock, synchronise
from effbench.probes.exit_models import derived, gated
from effbench.probes.mac_count import PARTS, count_part
from effbench.probes.warm_up import warm_up
from effbench.quality import image_pq
from effbench.study.cell import Cell
from effbench.training.evaluate import Inference, answer, as_input

NAME = "ledger"
VERSION = "2"
INSIDE = "one pass of the gated model from an image to its panoptic answer"
missing = conditions.missing

BATCHES = (1, 2, 8)
REPEATS = 11


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds of the gated pass, a sample for each of the first `options["ledger_images"]` validation images.

    `options["gate"]` are the fields of a GateRecipe. The detail has every image's row, the gate's own cost, and whole
    batches of 1, 2 and 8 images.
    """
    how = conditions.plain_conditions(cell, NAME)
    if how.batch != 1:
        raise InputError(f"ledger with batch {how.batch}; expected 1, images leave apart")
    with torch.inference_mode(False):
        made, gate = gated(cell, context)
        validation, data = derived(cell, context, made, "val")
        macs = ExitMacs(cell, gate.exits)
    model, gate_macs = made.model, gate.weight.numel()
    inference, wanted = Inference(**cell.options["inference"]), cell.options["ledger_images"]
    inference = replace(inference, semantic=False, instances=False)
    samples = [data[i] for i in range(min(wanted, len(data)))]
    images = [as_input(model, sample, inference) for sample in samples]
    with how.applied():
        run = _Passes(model, data, inference, how.device)
        for exit in (None, max(macs.exits)):
            first = samples[0], images[0]
            warm_up(lambda: run.timed(*first, exit)["total"], cell.options.get("warm_up_s", 0.0))  # noqa: B023
        rows = []
        for i, (sample, image) in enumerate(zip(samples, images, strict=True)):
            rows.append(_row(partial(run.timed, sample, image), i, macs.of(image), gate_macs))
            found = validation.images[sample.image_id]
            rows[-1] |= {
                "image": sample.image_id,
                "pq": image_pq(found.stats[validation.exits.index(rows[-1]["exit"])]),
                "full_pq": image_pq(found.stats[validation.exits.index(max(macs.exits))]),
            }
            context.report(done=i + 1, total=len(images))
        gate_s = _gate_seconds(model, images, how.device)
        batches = {str(n): _batch(model, groups, how.device) for n in BATCHES if (groups := _groups(images, n))}
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "conditions": how.to_json(),
        "gate": cell.options["gate"],
        "images": rows,
        "mean": {name: statistics.fmean(row[name] for row in rows) for name in rows[0] if name != "image"},
        "gate_s": gate_s,
        "gate_macs": gate_macs,
        "batches": batches,
    }
    return Measurement([row["total_s"] for row in rows], "s", detail, model.encoder.implementation())


class ExitMacs:
    """MACs of a cell's model (complete convention) at each of `exits`, counted once for every size of image."""

    def __init__(self, cell: Cell, exits: Sequence[int]) -> None:
        self.exits = exits
        self._model = segmenter(replace(cell, dtype="float32"), device="meta")
        self._known: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}

    def of(self, image: Tensor) -> dict[int, tuple[int, int]]:
        """exit -> MACs of the encoder, and of backbone, encoder and decoder, for `image` (1, 3, H, W)."""
        size = pad_to((image.shape[2], image.shape[3]), STRIDE)
        if size not in self._known:
            with torch.inference_mode(False):  # in which nothing could be counted
                others = sum(self._count(name, size) for name in PARTS if name != "encoder")
                encoder = {layer: self._count("encoder", size, layer) for layer in self.exits}
            self._known[size] = {layer: (own, own + others) for layer, own in encoder.items()}
        return self._known[size]

    def _count(self, part: str, size: tuple[int, int], exit: int | None = None) -> int:
        return count_part(self._model, part, size, exit).by_component("complete")["total"]


class _Passes:
    """Passes of a model with the encoder timed inside them, and its layers counted."""

    def __init__(self, model: Segmenter, data: CocoPanoptic, how: Inference, device: torch.device) -> None:
        self.model, self.things, self.how, self.device = model, data.categories.things, how, device

    def timed(self, sample: Sample, image: Tensor, exit: int | None) -> dict[str, float]:
        """Seconds of the encoder and in total, layers that ran and the exit; `image` is the sample as an input."""
        encoder = self.model.encoder
        assert isinstance(encoder, EarlyExit)
        marks: list[float] = []

        def mark(*_: Any) -> None:
            synchronise(self.device)
            marks.append(time.perf_counter())

        handles = [encoder.register_forward_pre_hook(mark), encoder.register_forward_hook(mark)]
        try:
            with layers_run(encoder) as layers:
                synchronise(self.device)
                began = time.perf_counter()
                output = self.model(image, exit)
                answer(output, image, sample, self.things, self.how)
                synchronise(self.device)
                total = time.perf_counter() - began
        finally:
            for handle in handles:
                handle.remove()
        left = output.encoded.exit
        assert left is not None
        return {"encoder": marks[1] - marks[0], "total": total, "layers": len(layers), "exit": int(left[0])}


@contextmanager
def layers_run(encoder: EarlyExit) -> Iterator[list[int]]:
    """The batch sizes that the encoder's layers are called with inside, in the order of the calls."""
    batches: list[int] = []
    count = lambda _, args: batches.append(len(args[0]))  # noqa: E731
    handles = [layer.register_forward_pre_hook(count) for layer in encoder.layers]
    try:
        yield batches
    finally:
        for handle in handles:
            handle.remove()


def _row(
    timed: Callable[[int | None], dict[str, float]], number: int, macs: dict[int, tuple[int, int]], gate_macs: int
) -> dict[str, Any]:
    """One image by the gate and in full; who goes first changes from image to image."""
    deepest = max(macs)
    taken: dict[int | None, dict[str, float]] = {}
    for exit in (None, deepest) if number % 2 == 0 else (deepest, None):
        taken[exit] = timed(exit)
    gated, full = taken[None], taken[deepest]
    (own, total), (full_own, full_total) = macs[int(gated["exit"])], macs[deepest]
    return {
        "exit": int(gated["exit"]),
        "layers": int(gated["layers"]),
        "macs": own + gate_macs,
        "total_macs": total + gate_macs,
        "encoder_s": gated["encoder"],
        "total_s": gated["total"],
        "full_layers": int(full["layers"]),
        "full_macs": full_own,
        "full_total_macs": full_total,
        "full_encoder_s": full["encoder"],
        "full_total_s": full["total"],
    }


def _gate_seconds(model: Segmenter, images: Sequence[Tensor], device: torch.device) -> list[float]:
    """Seconds of the gate's own work for each image, from its pooled token to the answer on the host."""
    encoder = model.encoder
    assert isinstance(encoder, EarlyExit)
    found = []
    for image in images:
        pooled = encoder.pooled(model.backbone(model.prepare(image)))
        synchronise(device)
        began = time.perf_counter()
        encoder.decide(pooled)
        found.append(time.perf_counter() - began)
    return found


def _groups(images: Sequence[Tensor], count: int) -> list[Tensor]:
    """The first batches (count, 3, H, W) of images of one size, in order; none where too few are alike."""
    alike: dict[torch.Size, list[Tensor]] = {}
    groups = []
    for image in images:
        waiting = alike.setdefault(image.shape, [])
        waiting.append(image)
        if len(waiting) == count:
            groups.append(torch.cat(waiting))
            waiting.clear()
    return groups[:REPEATS]


def _batch(model: Segmenter, groups: Sequence[Tensor], device: torch.device) -> dict[str, Any]:
    """Seconds of the encoder for whole batches, by the gate and in full, in turn; and how many layers ran for them."""
    encoder = model.encoder
    assert isinstance(encoder, EarlyExit)
    timer = HostClock(device)
    seconds: dict[str, list[float]] = {"gated": [], "full": []}
    layers, exits = 0, []
    for number, group in enumerate(groups):
        features = model.backbone(model.prepare(group))
        order = ("gated", "full") if number % 2 == 0 else ("full", "gated")
        for name in order:
            exit = None if name == "gated" else max(encoder.exits)
            with layers_run(encoder) as batches:  # and so the first run of its size is not the timed one
                left = encoder(features, exit=exit).exit
            if exit is None:
                assert left is not None
                layers += sum(batches)
                exits += left.tolist()
            seconds[name].append(timer.time(lambda: encoder(features, exit=exit)).host)  # noqa: B023 (called at once)
    return {
        **{f"{name}_s": own for name, own in seconds.items()},
        "layers_per_image": layers / len(exits),
        "exits": exits,
    }

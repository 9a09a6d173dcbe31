"""The ledger of early exit: image by image, what a gated model really executed, what it took and what it gave.

Layers are counted where they run, not assumed from the exit. The gated pass and the full one of an image take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.transforms import pad_to
from effbench.encoders.contract import EarlyExit
from effbench.errors import InputError
from effbench.models import postprocess
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, parse_size, segmenter
from effbench.probes.clocks import HostClock, synchronise
from effbench.probes.exit_models import derived, trained
from effbench.probes.mac_count import count_part
from effbench.probes.warm_up import warm_up
from effbench.quality import image_pq
from effbench.study.cell import Cell
from effbench.training.evaluate import Inference, as_input
from effbench.training.gate import GateRecipe, install, train_gate

NAME = "ledger"
VERSION = "1"
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
    how = conditions.conditions(cell)
    if how.mode != "eager" or how.batch != 1:
        raise InputError(f"ledger in mode {how.mode} with batch {how.batch}; expected eager and 1, images leave apart")
    recipe = GateRecipe(**cell.options["gate"])
    if recipe.k:
        raise InputError(f"gate with k={recipe.k}; expected the exits that the model was trained with, k=0")
    with torch.inference_mode(False):
        made = trained(cell, context)
        gate = train_gate(derived(cell, context, made, "train")[0], recipe)
        validation, data = derived(cell, context, made, "val")
        macs = exit_macs(cell, validation.exits)
        gate_macs = gate.weight.numel()
    model = made.model
    install(gate, model)
    inference, wanted = Inference(**cell.options["inference"]), cell.options["ledger_images"]
    images = [as_input(model, data[i], inference) for i in range(min(wanted, len(data)))]
    with how.applied():
        run = _Passes(model, data, inference, how.device)
        for exit in (None, max(macs)):
            warm_up(lambda: run.timed(images[0], exit)["total"], cell.options.get("warm_up_s", 0.0))  # noqa: B023
        rows = []
        for i, image in enumerate(images):
            rows.append(_row(run, image, i, macs, gate_macs))
            found = validation.images[data.image_ids[i]]
            rows[-1] |= {
                "image": data.image_ids[i],
                "pq": image_pq(found.stats[validation.exits.index(rows[-1]["exit"])]),
                "full_pq": image_pq(found.stats[-1]),
            }
            context.report(done=i + 1, total=len(images))
        gate_s = _gate_seconds(model, images, how.device)
        batches = {str(size): _batch(model, images, size, how.device) for size in BATCHES if size <= len(images)}
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "conditions": how.to_json(),
        "gate": cell.options["gate"],
        "images": rows,
        "mean": {name: statistics.fmean(row[name] for row in rows) for name in rows[0] if name != "image"},
        "gate_s": gate_s,
        "gate_macs": gate_macs,
        "macs_at_exits": {str(layer): count for layer, count in macs.items()},
        "batches": batches,
    }
    return Measurement([row["total_s"] for row in rows], "s", detail, model.encoder.implementation())


def exit_macs(cell: Cell, exits: Sequence[int]) -> dict[int, int]:
    """exit -> MACs of the encoder (complete convention) on one image of the cell's size."""
    counted = segmenter(replace(cell, dtype="float32"), device="meta")
    padded = pad_to(parse_size(cell.size), STRIDE)
    return {layer: count_part(counted, "encoder", padded, layer).by_component("complete")["total"] for layer in exits}


class _Passes:
    """Passes of a model with the encoder timed inside them, and its layers counted."""

    def __init__(self, model: Segmenter, data: CocoPanoptic, how: Inference, device: torch.device) -> None:
        self.model, self.things, self.how, self.device = model, data.categories.things, how, device

    def timed(self, image: Tensor, exit: int | None) -> dict[str, float]:
        """Seconds of the encoder and in total, layers that ran and the exit."""
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
                last = output.predictions[-1]
                size = (image.shape[2], image.shape[3])
                masks = postprocess.resize_masks(last.masks[0], output.padded_size, size, size)
                thresholds = self.how.object_threshold, self.how.overlap_threshold
                postprocess.panoptic(last.logits[0], masks, self.things, *thresholds)
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


def _row(run: _Passes, image: Tensor, number: int, macs: dict[int, int], gate_macs: int) -> dict[str, Any]:
    """One image by the gate and in full; who goes first changes from image to image."""
    deepest = max(macs)
    taken: dict[int | None, dict[str, float]] = {}
    for exit in (None, deepest) if number % 2 == 0 else (deepest, None):
        taken[exit] = run.timed(image, exit)
    gated, full = taken[None], taken[deepest]
    return {
        "exit": int(gated["exit"]),
        "layers": int(gated["layers"]),
        "macs": macs[int(gated["exit"])] + gate_macs,
        "encoder_s": gated["encoder"],
        "total_s": gated["total"],
        "full_layers": int(full["layers"]),
        "full_macs": macs[deepest],
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


def _batch(model: Segmenter, images: Sequence[Tensor], size: int, device: torch.device) -> dict[str, Any]:
    """Seconds of the encoder for whole batches, by the gate and in full, in turn; and how many layers ran for them."""
    encoder = model.encoder
    assert isinstance(encoder, EarlyExit)
    timer = HostClock(device)
    seconds: dict[str, list[float]] = {"gated": [], "full": []}
    layers, exits = 0, []
    groups = [torch.cat(list(images[i : i + size])) for i in range(0, len(images) - size + 1, size)][:REPEATS]
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

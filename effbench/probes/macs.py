"""Multiply-accumulates per image by component, in the papers' and the complete convention.

Needs no data, no weights and no compute. Deterministic: one sample.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, Measurement, needs_nothing, segmenter
from effbench.probes.mac_count import COMPONENTS, CONVENTIONS, count_model, count_post_processing
from effbench.probes.mac_sizes import SizeProtocol, resized, size_protocol
from effbench.study.cell import Cell

NAME = "macs"
VERSION = "1"
INSIDE = "mean multiply-accumulates per image, total, papers' convention"
missing = needs_nothing


def measure(cell: Cell, context: Context) -> Measurement:
    """Mean MACs per image over the sizes that `cell.size` names; "data" means the data root's own images."""
    if cell.size == "data":
        data = CocoPanoptic(context.inputs["data_root"], "val2017")
        protocol = SizeProtocol(resized(Counter(data.image_sizes).items()))
    else:
        protocol = size_protocol(cell.size)
    model = segmenter(cell, device="meta")
    counted = count(model, protocol, cell.queries, cell.classes)
    return Measurement([counted["papers"]["total"]], "MAC", counted, model.encoder.implementation())


def count(model: Segmenter, protocol: SizeProtocol, queries: int, classes: int) -> dict[str, dict[str, float]]:
    """convention -> component -> mean MACs per image over the protocol's inputs, `total` included.

    A third entry, "left_out", says operator by operator what the papers' convention misses of the complete one.
    Under `encoder_of_last`, "encoder" is the last input's while everything else, the total too, is the mean: then
    the components do not sum to the total.
    """
    by_padded: dict[tuple[int, int], dict[str, dict[str, int]]] = {}
    left_out: Counter[str] = Counter()
    sums: dict[str, Counter[str]] = {convention: Counter() for convention in CONVENTIONS}
    images = sum(i.images for i in protocol.inputs)
    for item in protocol.inputs:
        if item.padded not in by_padded:
            counted = count_model(model, *item.padded)
            by_padded[item.padded] = {c: counted.by_component(c) for c in CONVENTIONS}
            by_padded[item.padded]["left_out"] = counted.left_out()
        for operator, macs in by_padded[item.padded]["left_out"].items():
            left_out[operator] += item.images * macs
        post = count_post_processing(queries, classes, item.padded, item.resized, item.original)
        for convention in CONVENTIONS:
            for component in COMPONENTS:
                sums[convention][component] += item.images * by_padded[item.padded][convention][component]
            sums[convention]["post_processing"] += item.images * post[convention]
    result: dict[str, dict[str, Any]] = {}
    for convention in CONVENTIONS:
        means = {component: sums[convention][component] / images for component in COMPONENTS}
        total = sum(means.values())
        if protocol.encoder_of_last:
            means["encoder"] = by_padded[protocol.inputs[-1].padded][convention]["encoder"]
        result[convention] = {**means, "total": total}
    result["left_out"] = {operator: macs / images for operator, macs in left_out.items()}
    return result

"""Multiply-accumulates per image by component, in the papers' and the complete convention.

Needs no data, no weights and no compute. Deterministic: one sample.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from effbench.data.roots import open_split, test_size
from effbench.encoders.registry import setting_defaults
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, Measurement, needs_nothing, segmenter
from effbench.probes.mac_count import (
    COMPONENTS,
    CONVENTIONS,
    PARTS,
    MacCount,
    count_model,
    count_part,
    count_post_processing,
)
from effbench.probes.mac_sizes import Input, SizeProtocol, resized, size_protocol
from effbench.study.cell import Cell

NAME = "macs"
VERSION = "2"
INSIDE = "mean multiply-accumulates per image, total, papers' convention"
missing = needs_nothing


Shared = dict[tuple[str, str, Any], Any]
"""(part, what its count depends on, size) -> its count."""

_shared: Shared = {}


def measure(cell: Cell, context: Context) -> Measurement:
    """Mean MACs per image over the sizes that `cell.size` names; "data" means the data root's own images."""
    if cell.size == "data":
        root = context.inputs["data_root"]
        sizes = Counter(open_split(root, "val").image_sizes)
        protocol = SizeProtocol(resized(sizes.items(), *test_size(root)))
    else:
        protocol = size_protocol(cell.size)
    model = segmenter(cell, device="meta")
    exit = cell.options.get("exit")
    counted = count(model, protocol, cell.queries, cell.classes, identities(cell), _shared, exit)
    return Measurement([counted["papers"]["total"]], "MAC", counted, model.encoder.implementation())


def identities(cell: Cell) -> dict[str, str]:
    """part -> all that its count depends on besides the size: cells that agree on it share the count."""
    backbone = [cell.backbone, cell.backbone_settings]
    width = {**setting_defaults(cell.encoder, cell.settings), **cell.settings, **cell.width}
    decoder = [cell.decoder, cell.decoder_settings, cell.classes, cell.queries, width["dim"], width["mask_dim"]]
    parts = {
        "backbone": backbone,
        "encoder": [cell.encoder, width, backbone, cell.options.get("exit")],
        "decoder": decoder,
    }
    return {part: json.dumps(fields, sort_keys=True) for part, fields in parts.items()}


def count(
    model: Segmenter,
    protocol: SizeProtocol,
    queries: int,
    classes: int,
    identity: Mapping[str, str] | None = None,
    shared: Shared | None = None,
    exit: int | None = None,
) -> dict[str, dict[str, float]]:
    """convention -> component -> mean MACs per image over the protocol's inputs, `total` included.

    A third entry, "left_out", says operator by operator what the papers' convention misses of the complete one.
    Under `encoder_of_last`, "encoder" is the last input's while everything else, the total too, is the mean: then
    the components do not sum to the total. `shared` holds the counts of earlier models; those of the parts whose
    `identity` is the same are not made again. `exit`: of an early-exit encoder, None for its deepest.
    """
    identity, shared = identity or dict.fromkeys(PARTS, ""), {} if shared is None else shared
    sums, images = MacCount(), sum(i.images for i in protocol.inputs)
    post_processing: Counter[str] = Counter()
    padded_images: Counter[tuple[int, int]] = Counter()
    for item in protocol.inputs:
        padded_images[item.padded] += item.images
        for convention, macs in _post(queries, classes, item, shared).items():
            post_processing[convention] += item.images * macs
    for padded, times in padded_images.items():
        sums += _whole(model, identity, padded, shared, exit).times(times)
    _check_parts(model, identity, protocol.inputs[-1].padded, shared, exit)
    result: dict[str, dict[str, Any]] = {}
    for convention in CONVENTIONS:
        components = sums.by_component(convention)
        components["post_processing"] += post_processing[convention]
        means = {component: components[component] / images for component in COMPONENTS}
        total = sum(means.values())
        if protocol.encoder_of_last:
            last = _whole(model, identity, protocol.inputs[-1].padded, shared, exit)
            means["encoder"] = last.by_component(convention)["encoder"]
        result[convention] = {**means, "total": total}
    result["left_out"] = {operator: macs / images for operator, macs in sums.left_out().items()}
    return result


def _whole(
    model: Segmenter, identity: Mapping[str, str], padded: tuple[int, int], shared: Shared, exit: int | None
) -> MacCount:
    """The sum of the three parts at one padded size."""
    total = MacCount()
    for part in PARTS:
        key = (part, identity[part], padded)
        if key not in shared:
            shared[key] = count_part(model, part, padded, exit)
        total += shared[key]
    return total


def _check_parts(
    model: Segmenter, identity: Mapping[str, str], padded: tuple[int, int], shared: Shared, exit: int | None
) -> None:
    """Hold the sum of the parts against one count of the whole model, so that no part can be another model's."""
    parts, whole = _whole(model, identity, padded, shared, exit), count_model(model, *padded, exit)
    if any(parts.by_component(c) != whole.by_component(c) for c in CONVENTIONS):
        found = f"{parts.by_component('complete')}, the whole model {whole.by_component('complete')}"
        raise RuntimeError(f"the parts count {found}; expected the same, a part's identity must name all it depends on")


def _post(queries: int, classes: int, item: Input, shared: Shared) -> dict[str, int]:
    key = ("post_processing", f"{queries} {classes}", item[:3])
    if key not in shared:
        shared[key] = count_post_processing(queries, classes, item.padded, item.resized, item.original)
    counted: dict[str, int] = shared[key]
    return counted

"""Verdicts on settings, parameters and facts: held against what effbench has by default, or counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from effbench.claims.context import CONTRADICTED, NEEDS_DATA, NOT_COMPARABLE, REPRODUCED, Book, Verdict
from effbench.claims.counting import DEPTHS, cell_of
from effbench.claims.printed import COSTS, Claim
from effbench.data.sizes import coco_val2017_sizes
from effbench.encoders.contract import LEVELS, FeatureSpec
from effbench.encoders.registry import build_encoder, setting_defaults
from effbench.models.backbones import preset
from effbench.training.criterion import CriterionSettings

FEATURES = {name: FeatureSpec(96 * 2**i, 4 * 2**i) for i, name in enumerate(LEVELS)}
GROUPS = {"coco": (80, 53), "cityscapes": (8, 11)}
"""Things and stuff of the panoptic annotations: https://cocodataset.org, cityscapesScripts' labels."""
COCO_VAL, THOUSAND = 5000, 1000


def _built(encoder: str) -> nn.Module:
    with torch.device("meta"):
        return build_encoder(encoder, FEATURES)


def _kernel(encoder: str, kind: type[nn.Module], name: str) -> float:
    """The size of an attribute of the encoder's layers of a kind at stride 4, such as `kernel_size`."""
    values = {getattr(m, name) for m in _built(encoder).modules() if isinstance(m, kind)}
    sides = {value[0] if isinstance(value, tuple) else value for value in values}
    return float(max(sides))


OURS: Mapping[str, Callable[[Claim], Any]] = {
    "setting_enc_layers": lambda claim: setting_defaults("mask2former")["layers"],
    "setting_embed_dim": lambda claim: setting_defaults("proscale")["dim"],
    "setting_conv_dim": lambda claim: setting_defaults("mask2former")["dim"],
    "setting_lpe_kernel": lambda claim: _kernel("proscale", nn.MaxPool2d, "kernel_size"),
    "setting_lpe_stride": lambda claim: _kernel("proscale", nn.MaxPool2d, "stride"),
    "setting_output_conv_kernel": lambda claim: _kernel("mask2former", nn.Conv2d, "kernel_size"),
    "setting_first_exit": lambda claim: DEPTHS["lite" if "Lite" in claim.system else "mask2former"][0],
    "setting_last_exit": lambda claim: DEPTHS["lite" if "Lite" in claim.system else "mask2former"][1],
    "setting_queries": lambda claim: preset("r50").queries,
    "setting_trc_eps": lambda claim: setting_defaults("proscale")["temperature"],
    "setting_lambda_mask": lambda claim: CriterionSettings().mask_weight,
    "setting_lambda_class": lambda claim: CriterionSettings().class_weight,
    "setting_lambda_noobj": lambda claim: CriterionSettings().no_object,
    "n_things": lambda claim: GROUPS[claim.dataset][0],
    "n_stuff": lambda claim: GROUPS[claim.dataset][1],
}
"""metric -> our value for a claim of ECO-M2F or PRO-SCALE, whose models effbench builds."""


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a setting or a fact."""
    if claim.metric == "n_val" and claim.dataset == "coco":
        ours = sum(coco_val2017_sizes().values()) / (THOUSAND if "k" in claim.unit.lower().split()[0] else 1)
        return _same(book, claim, ours, "images in val2017, by the sizes that effbench keeps")
    if claim.metric in ("n_train", "n_val"):
        return Verdict(NEEDS_DATA, "a count of images, which takes the data set")
    if claim.metric == "setting_flops_img":
        return Verdict(NOT_COMPARABLE, "an input as stated; the one that a cost fits stands beside the cost")
    if claim.metric.startswith("review"):
        return Verdict(NOT_COMPARABLE, "a reviewer's score")
    if claim.metric == "gpu_hours":
        return Verdict(NOT_COMPARABLE, f"the length of a training on {claim.hardware}, with their program")
    if claim.metric == "setting_enc_layers" and claim.encoder != "early_exit" and "PRO-SCALE" in claim.system:
        return _layers(book, claim)
    if (claim.paper == "maskconver" and not claim.metric.startswith("n_")) or claim.metric not in OURS:
        return Verdict(NOT_COMPARABLE, "a setting of theirs; effbench measures no such thing")
    ours = float(OURS[claim.metric](claim))
    if claim.metric.startswith("n_"):
        return _same(book, claim, ours, "classes of the annotations")
    if book.follows(claim, ours):
        return Verdict(NOT_COMPARABLE, "as effbench's default, which was taken from it", ours)
    return Verdict(CONTRADICTED, f"{ours:g} is effbench's default, with which the costs in print are reproduced", ours)


def _same(book: Book, claim: Claim, ours: float, what: str) -> Verdict:
    if book.follows(claim, ours):
        return Verdict(REPRODUCED, f"{ours:g}: {what}", ours)
    return Verdict(CONTRADICTED, f"{ours:g}: {what}", ours)


def _layers(book: Book, claim: Claim) -> Verdict:
    """PRO-SCALE's (p1, p2, p3) are its layers: what its tables name says how many there are."""
    named = {tuple(c.settings["p"]) for c in book.claims if "p" in c.settings and c.table not in ("text", "F-text")}
    other = sorted(p for p in named if sum(p) != claim.number)
    if not other:
        return Verdict(REPRODUCED, "every configuration in the tables has as many")
    say = ", ".join(f"({','.join(map(str, p))}) has {sum(p)}" for p in other)
    return Verdict(CONTRADICTED, f"the configurations in its own tables have others: {say}")


def parameters(book: Book, claim: Claim) -> Verdict:
    """The verdict on millions of parameters of a whole model."""
    if claim.encoder == "mask2former":
        record = book.counts.get(cell_of(claim, "coco"), "parameters")
        ours = sum(record.detail[part] for part in ("backbone", "encoder", "decoder")) / 1e6
        agrees = book.agrees(claim, ours)
        say = f"{ours:.2f} M here"
        return Verdict(REPRODUCED if agrees else CONTRADICTED, say, ours, ours, records=(record,))
    if claim.encoder != "convnext_unet":
        return Verdict(NOT_COMPARABLE, f"effbench does not build this {claim.system}; as printed")
    base = [c for c in book.claims if (c.encoder, c.metric) == (claim.encoder, claim.metric)][-1]
    reason = "effbench has MaskConver's encoder, under Mask2Former's decoder, not its heads"
    if base.id == claim.id:
        return Verdict(NOT_COMPARABLE, reason)
    records = tuple(book.counts.get(cell_of(c, "800x1200"), "parameters") for c in (claim, base))
    ours = (records[0].detail["encoder"] - records[1].detail["encoder"]) / 1e6
    say = f"{reason}; against {base.row.rpartition('/')[2]} {claim.number - base.number:+g} M in print"
    return Verdict(NOT_COMPARABLE, f"{say}, {ours:+.2f} M here", records=records)


def token_share(claim: Claim) -> Verdict:
    """Share of a scale's tokens in the encoder: s2, s3, s4 stand at strides 8, 16, 32 in PRO-SCALE."""
    tokens = {f"s{i}": 4.0 ** (4 - i) for i in (2, 3, 4)}
    ours = 100 * tokens[claim.conditions["scale"]] / sum(tokens.values())
    step = 10.0**-claim.decimals
    off, say = abs(ours - claim.number), f"{ours:.4f} by the strides"
    if off <= step / 2:
        return Verdict(REPRODUCED, say, ours)
    if off <= step:
        return Verdict(REPRODUCED, f"{say}; one unit in the last digit apart", ours, kind="last digit")
    return Verdict(CONTRADICTED, say, ours, kind="does not follow")


def recalibration(book: Book, claim: Claim) -> Verdict:
    """What token recalibration costs: PRO-SCALE (1,1,1) with it, less the same without."""
    row = next(
        c for c in book.claims if c.metric == COSTS[1] and c.settings == {"p": [1, 1, 1]} and c.dataset == "coco"
    )
    without = replace(row, settings={**row.settings, "recalibration": "off"})
    cells = [cell_of(c, "coco") for c in (row, without)]
    ours = book.counts.papers(cells[0])["total"] - book.counts.papers(cells[1])["total"]
    records = tuple(book.counts.get(cell) for cell in cells)
    agrees = book.follows(claim, ours)
    say = f"{ours:.4f} here, over val2017"
    return Verdict(REPRODUCED if agrees else CONTRADICTED, say, ours, ours, records=records)

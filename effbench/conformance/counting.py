"""What an encoder promises to the MAC count: shapes without compute, and a rule for every operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from effbench.conformance.check import check
from effbench.conformance.compare import NAMES, tensors
from effbench.conformance.subject import SIZE, Subject
from effbench.encoders.contract import Encoder, exits_of
from effbench.models.backbones import Backbone
from effbench.models.segmenter import Segmenter
from effbench.probes.mac_count import CONVENTIONS, count_part


@check(
    wants="shapes and dtypes on the meta device as on a real one",
    mend="decide nothing by the values of tensors, and create tensors on the device of the input",
)
def meta(subject: Subject) -> str | None:
    with torch.device("meta"):
        encoder = subject.build()
    real = subject.run(subject.build(), subject.pyramid())
    shapes = subject.run(encoder, subject.pyramid(device="meta"))
    for name, x, y in zip(NAMES, tensors(real), tensors(shapes), strict=True):
        if (x.shape, x.dtype, "meta") != (y.shape, y.dtype, y.device.type):
            return f"{name} is {tuple(y.shape)} in {y.dtype} on {y.device.type}, really {tuple(x.shape)} in {x.dtype}"
    return None


@check(
    wants="a rule for every operator, and on the meta device the count of real tensors",
    mend="give the operator a rule in effbench/probes/mac_rules.py, or register a FLOP formula for it",
    requires=("meta", "determinism"),
)
def macs(subject: Subject) -> str | None:
    with torch.device("meta"):
        encoders = [subject.build()]
    encoders.append(subject.build())
    for exit in exits_of(encoders[0]) or (None,):
        meta, real = (_count(subject, encoder, exit) for encoder in encoders)
        for convention in CONVENTIONS:
            if meta[convention] != real[convention]:
                return f"{meta[convention]} MACs ({convention}) on the meta device, {real[convention]} on real tensors"
    return None


class _Pyramid(nn.Module):
    """Stands where the counter expects a backbone: the pyramid's specs, and the device to count on."""

    def __init__(self, subject: Subject, device: torch.device) -> None:
        super().__init__()
        self.features = subject.features
        self.where = nn.Parameter(torch.empty(0, device=device))


class _AtExit(nn.Module):
    """An early-exit encoder held at one exit, as the counter calls encoders without arguments."""

    def __init__(self, encoder: Encoder, exit: int) -> None:
        super().__init__()
        self.encoder, self.exit = encoder, exit

    def forward(self, features: Mapping[str, Tensor]) -> Any:
        """`features`: name -> (B, C, H/s, W/s)."""
        return self.encoder(features, exit=self.exit)


def _count(subject: Subject, encoder: Encoder, exit: int | None) -> dict[str, int]:
    """Convention -> MACs of the encoder on one image."""
    device = next((x.device for x in encoder.parameters()), torch.device("cpu"))
    counted = cast(Encoder, encoder if exit is None else _AtExit(encoder, exit))
    model = Segmenter(cast(Backbone, _Pyramid(subject, device)), counted, nn.Identity())
    count = count_part(model, "encoder", SIZE)
    return {convention: count.by_component(convention)["total"] for convention in CONVENTIONS}

"""Every registered encoder's forward, narrow, at two sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from effbench.encoders.contract import FeatureSpec, exits_of
from effbench.encoders.registry import build_encoder, registered, setting_defaults
from effbench.study.suite import NARROW

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("inference")]

FEATURES = {f"res{i + 2}": FeatureSpec(32 * 2**i, 4 * 2**i) for i in range(4)}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [128, 256])
@pytest.mark.parametrize("name", registered())
def test_forward(benchmark: Any, name: str, size: int, device: str) -> None:
    settings = {setting: value for setting, value in NARROW.items() if setting in setting_defaults(name)}
    with torch.device(device):
        encoder = build_encoder(name, FEATURES, **settings).eval()
        pyramid = {name: torch.randn(1, c, size // stride, size // stride) for name, (c, stride) in FEATURES.items()}

    exits = exits_of(encoder)
    call = {"exit": max(exits)} if exits else {}  # a gate of fresh weights would leave anywhere

    def forward() -> None:
        encoder(pyramid, **call)
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(forward, rounds=21, warmup_rounds=2)
    benchmark.extra_info["device"] = device
    benchmark.extra_info["counts"] = {"parameters": sum(p.numel() for p in encoder.parameters())}

"""The deformable operator as an encoder calls it: every token of three maps asks all three."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from effbench.kernels.ms_deform_attn import ms_deform_attn

pytestmark = [pytest.mark.benchmark, pytest.mark.usefixtures("inference")]

SHAPES = ((8, 8), (16, 16), (32, 32))
HEADS, DIM, POINTS = 8, 32, 4
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.mark.parametrize("device", DEVICES)
def test_forward(benchmark: Any, device: str) -> None:
    tokens, levels = sum(height * width for height, width in SHAPES), len(SHAPES)
    with torch.device(device):
        value = torch.randn(1, tokens, HEADS, DIM)
        locations = torch.rand(1, tokens, HEADS, levels, POINTS, 2)
        weights = torch.rand(1, tokens, HEADS, levels, POINTS)

    def forward() -> None:
        ms_deform_attn(value, SHAPES, locations, weights)
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(forward, rounds=21, warmup_rounds=2)
    benchmark.extra_info["device"] = device

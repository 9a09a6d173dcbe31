"""The deformable operator as an encoder calls it: every token of three maps asks all three."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from effbench.kernels.ms_deform_attn import ms_deform_attn, ms_deform_attn_fused

pytestmark = pytest.mark.benchmark

SHAPES = ((8, 8), (16, 16), (32, 32))
HEADS, DIM, POINTS = 8, 32, 4
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def calls(device: str, impl: str) -> dict[str, Callable[[], torch.Tensor]]:
    """The operator from locations and weights, and from offsets and logits, on random arguments that need gradients."""
    tokens, levels = sum(height * width for height, width in SHAPES), len(SHAPES)
    with torch.device(device):
        value = torch.randn(1, tokens, HEADS, DIM, requires_grad=True)
        locations = torch.rand(1, tokens, HEADS, levels, POINTS, 2, requires_grad=True)
        weights = torch.rand(1, tokens, HEADS, levels, POINTS, requires_grad=True)
        offsets = torch.randn(locations.shape, requires_grad=True)
        reference = torch.rand(tokens, 2)
    return {
        "plain": lambda: ms_deform_attn(value, SHAPES, locations, weights, impl),
        "fused": lambda: ms_deform_attn_fused(value, SHAPES, offsets, weights, reference, impl),
    }


def timed(benchmark: Any, run: Callable[[], Any], device: str) -> None:
    def once() -> None:
        run()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(once, rounds=21, warmup_rounds=2)
    benchmark.extra_info["device"] = device


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("device", DEVICES)
def test_forward(benchmark: Any, device: str) -> None:
    timed(benchmark, calls(device, "auto")["plain"], device)


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("op", ["plain", "fused"])
@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_forward_on_the_cpu(benchmark: Any, impl: str, op: str) -> None:
    timed(benchmark, calls("cpu", impl)[op], "cpu")


@pytest.mark.parametrize("op", ["plain", "fused"])
@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_forward_and_backward_on_the_cpu(benchmark: Any, impl: str, op: str) -> None:
    run = calls("cpu", impl)[op]
    timed(benchmark, lambda: run().sum().backward(), "cpu")

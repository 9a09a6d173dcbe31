"""Positions and pixel embeddings against small hand computations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from effbench.encoders.contract import SettingError
from effbench.encoders.layers import EMBEDDINGS, ConvNorm, PoolNorm, added, embedding_layer, sine_position


@pytest.mark.parametrize(("height", "width", "dim"), [(3, 5, 8), (1, 1, 4), (7, 2, 12)])
def test_sine_position_is_detrs(height: int, width: int, dim: int) -> None:
    half = dim // 2
    expected = torch.zeros(dim, height, width)
    for y in range(height):
        for x in range(width):
            for axis, (place, size) in enumerate(((y, height), (x, width))):
                for channel in range(half):
                    angle = 2 * math.pi * (place + 1) / (size + 1e-6) / 10000 ** (channel // 2 * 2 / half)
                    expected[axis * half + channel, y, x] = math.cos(angle) if channel % 2 else math.sin(angle)
    position = sine_position(height, width, dim, torch.device("cpu"))
    assert position.dtype == torch.float32
    torch.testing.assert_close(position, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool", "none"])
def test_pooling_sees_its_eight_neighbours(kind: str) -> None:
    x = torch.zeros(1, 32, 5, 7)
    x[0, :, 2, 3] = 9.0
    pooled = PoolNorm(32, kind).pool(x)[0, 0]
    expected = torch.zeros(5, 7)
    if kind == "none":
        expected[2, 3] = 9.0
    else:
        expected[1:4, 2:5] = 9.0 if kind == "max_pool" else 1.0
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("kind", EMBEDDINGS)
def test_embeddings_keep_the_shape_and_end_in_a_norm_and_relu(kind: str) -> None:
    layer = embedding_layer(kind, 64)
    output = layer(torch.randn(2, 64, 4, 6))
    assert output.shape == (2, 64, 4, 6)
    assert output.min() == 0
    with torch.no_grad():
        layer.norm.weight.zero_()
        layer.norm.bias.fill_(2.0)
    assert torch.equal(layer(torch.randn(2, 64, 4, 6)), torch.full((2, 64, 4, 6), 2.0))


@pytest.mark.parametrize(
    ("kind", "weights"), [("conv", 64 * 64 * 9), ("depthwise", 64 * 9), ("max_pool", 0), ("none", 0)]
)
def test_what_each_embedding_costs_in_parameters(kind: str, weights: int) -> None:
    norm = 2 * 64
    assert sum(p.numel() for p in embedding_layer(kind, 64).parameters()) == weights + norm


def test_depthwise_mixes_no_channels() -> None:
    layer = embedding_layer("depthwise", 32)
    x = torch.zeros(1, 32, 3, 3, requires_grad=True)
    nn.Conv2d.forward(layer, x)[0, 5].sum().backward()
    assert x.grad is not None and x.grad[0].abs().sum((1, 2)).nonzero().flatten().tolist() == [5]


def test_unknown_embedding() -> None:
    with pytest.raises(SettingError, match="embedding='max', expected one of conv, max_pool"):
        embedding_layer("max", 64)


def test_conv_norm_has_no_bias_and_starts_fan_in_uniform() -> None:
    layer = ConvNorm(64, 32, 3)
    assert layer.bias is None
    bound = math.sqrt(3 / (64 * 9))
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer(torch.randn(1, 64, 4, 4)).min() < 0, "no ReLU unless asked"


def test_a_sum_takes_the_memory_of_its_first_part_where_that_has_the_bits() -> None:
    a, b = torch.full((4,), 1.0), torch.full((4,), 1 / 512)
    short = a.bfloat16()
    assert torch.equal(added(short, b), a + b) and torch.equal(short, a.bfloat16()), "bfloat16 cannot hold it"
    found = added(a, b)
    assert found is a and torch.equal(a, torch.full((4,), 1 + 1 / 512))

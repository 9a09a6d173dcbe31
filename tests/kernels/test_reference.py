"""The reference against loops and against autograd: what the operator means, at its edges above all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.kernels.ms_deform_attn import ms_deform_attn

Make = Callable[..., Any]
both = pytest.mark.parametrize("fused", [False, True], ids=["core", "fused"])

SIZES = [
    {},
    {"B": 1, "Q": 1, "M": 1, "P": 1, "D": 1},
    {"M": 3, "P": 3, "D": 5},
    {"shapes": ((1, 1),)},
    {"shapes": ((1, 6), (6, 1), (2, 2)), "Q": 7},
    {"shapes": ((2, 3), (1, 1), (3, 2), (4, 4), (1, 2)), "P": 1},
]


def by_grid_sample(call: Any) -> Tensor:
    """The composition of PyTorch functions that Deformable DETR's release offers beside its kernel."""
    call = call.unfused()
    B, _, M, D = call.value.shape
    Q = call.places.shape[1]
    sampled = []
    maps = call.value.split([h * w for h, w in call.shapes], dim=1)
    for level, (height, width) in enumerate(call.shapes):
        image = maps[level].permute(0, 2, 3, 1).reshape(B * M, D, height, width)
        grid = 2 * call.places[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        sampled.append(F.grid_sample(image, grid, padding_mode="zeros", align_corners=False))
    weights = call.attention.transpose(1, 2).reshape(B * M, 1, Q, -1)
    return (torch.cat(sampled, -1) * weights).sum(-1).view(B, M * D, Q).transpose(1, 2)


@both
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_output_is_the_definition(fused: bool, sizes: dict[str, Any], make: Make) -> None:
    call = make(fused, **sizes)
    torch.testing.assert_close(call("reference"), call.by_loops(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("reference", ["Q", "BQ", "BQL"])
def test_fused_is_the_core_after_softmax_and_sum(reference: str, make: Make) -> None:
    call = make(True, reference=reference)
    torch.testing.assert_close(call("reference"), call.unfused()("reference"), rtol=0, atol=1e-13)
    torch.testing.assert_close(call("reference"), call.by_loops(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("reference", [None, "Q", "BQ", "BQL"])
def test_gradcheck(reference: str | None, make: Make) -> None:
    call = make(reference is not None, reference=reference or "Q").leaves()
    assert torch.autograd.gradcheck(lambda *t: call.of(*t)("reference"), call.tensors, eps=1e-6, atol=1e-7)


@both
@pytest.mark.parametrize("sizes", SIZES[2:5], ids=str)
def test_gradients_are_those_of_autograd_through_grid_sample(fused: bool, sizes: dict[str, Any], make: Make) -> None:
    ours = make(fused, **sizes).leaves()
    theirs = ours.leaves()
    expected = by_grid_sample(theirs)
    upstream = torch.randn_like(expected)
    ours("reference").backward(upstream)
    expected.backward(upstream)
    for number, (a, b) in enumerate(zip(ours.tensors, theirs.tensors, strict=True)):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12, msg=lambda m, n=number: f"argument {n}: {m}")


def on_a_line(x: float, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """A value (1, width, 1, 1) of 1, 2, 3, ... and one sample at pixel x, with its weight; all want gradients."""
    value = torch.arange(1.0, width + 1, dtype=torch.float64).view(1, width, 1, 1).requires_grad_()
    location = torch.tensor([(x + 0.5) / width, 0.5], dtype=torch.float64).view(1, 1, 1, 1, 1, 2).requires_grad_()
    return value, location, torch.ones(1, 1, 1, 1, 1, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize(
    ("x", "output", "slope"),
    [
        (-1.0, 0.0, 0.0),  # the released kernel leaves out what is not strictly inside
        (-0.75, 0.25, 1.0),
        (-0.5, 0.5, 1.0),
        (0.0, 1.0, 1.0),
        (1.5, 2.5, 1.0),
        (3.0, 4.0, -4.0),
        (3.5, 2.0, -4.0),
        (4.0, 0.0, 0.0),
    ],
)
def test_at_the_borders(impl: str, x: float, output: float, slope: float) -> None:
    dtype = torch.float32 if impl == "cpu" else torch.float64
    value, location, weight = (t.detach().to(dtype).requires_grad_() for t in on_a_line(x))
    found = ms_deform_attn(value, [(1, 4)], location, weight, impl=impl)
    found.sum().backward()
    assert found.item() == pytest.approx(output)
    assert location.grad is not None and location.grad[..., 0].item() == pytest.approx(4 * slope)  # of a share of 4


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_a_pixel_centre_returns_the_pixel(impl: str) -> None:
    height, width = 3, 4
    value = torch.randn(1, height * width, 1, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    locations = torch.stack(((x + 0.5) / width, (y + 0.5) / height), dim=-1).view(1, -1, 1, 1, 1, 2)
    output = ms_deform_attn(value, ((height, width),), locations, torch.ones(locations.shape[:-1]), impl=impl)
    torch.testing.assert_close(output, value[:, :, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30, -1e30])
@both
def test_a_sample_that_is_nowhere_contributes_nothing(fused: bool, bad: float, impl: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    spoilt, silent = call.places.clone(), call.places.clone()
    spoilt[0, 1, 0, 0, 1, 0] = bad
    silent[0, 1, 0, 0, 1] = -100
    spoilt, silent = call.replace(places=spoilt), call.replace(places=silent)
    assert torch.equal(spoilt(impl), silent(impl))
    for a, b in zip(spoilt.gradients(impl), silent.gradients(impl), strict=True):
        assert a.isfinite().all() and torch.equal(a, b)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize("place", [-1.0, 2.0, 1e30, -1e30])
def test_everything_outside_is_exactly_nothing(place: float, impl: str, make: Make) -> None:
    call = make(dtype=torch.float32)
    outside = call.replace(places=torch.full_like(call.places, place))
    upstream = torch.ones(2, 3, 8)
    for tensor in (outside(impl), *outside.gradients(impl, upstream)):
        assert torch.count_nonzero(tensor) == 0


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_spoilt_pixel_reaches_the_samples_that_touch_it_and_no_other(bad: float, impl: str) -> None:
    """Samples along a line, each half a pixel on from the last, around pixel 2 of 5; weights may be negative."""
    value = torch.ones(1, 5, 1, 1)
    value[0, 2] = bad
    x = torch.arange(-4, 14) / 2
    locations = torch.stack(((x + 0.5) / 5, torch.full_like(x, 0.5)), -1).view(1, -1, 1, 1, 1, 2)
    output = ms_deform_attn(value, [(1, 5)], locations, torch.ones(1, len(x), 1, 1, 1), impl=impl).flatten()
    touched = (x >= 1) & (x < 3)  # pixel 2 is the right neighbour, with a weight of 0, of a sample on pixel 1
    assert torch.equal(output.isfinite(), ~touched)

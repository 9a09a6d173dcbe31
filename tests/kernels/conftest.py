"""Calls of both operators with random arguments, and the operators' definition one multiply at a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import ms_deform_attn, ms_deform_attn_fused

Shapes = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """Arguments of `ms_deform_attn`, or, with `reference`, of `ms_deform_attn_fused`."""

    value: Tensor
    shapes: Shapes
    places: Tensor
    """Locations, or offsets in pixels."""
    attention: Tensor
    """Weights, or logits."""
    reference: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        given = (self.value, self.places, self.attention)
        return given if self.reference is None else (*given, self.reference)

    @property
    def operator(self) -> str:
        return "ms_deform_attn" if self.reference is None else "ms_deform_attn_fused"

    def __call__(self, impl: str = "auto") -> Tensor:
        function = ms_deform_attn if self.reference is None else ms_deform_attn_fused
        return function(self.value, self.shapes, *self.tensors[1:], impl=impl)

    def replace(self, **fields: Any) -> Call:
        return dataclasses.replace(self, **fields)

    def of(self, *tensors: Tensor) -> Call:
        return Call(tensors[0], self.shapes, *tensors[1:])

    def map(self, change: Callable[[Tensor], Tensor]) -> Call:
        return self.of(*map(change, self.tensors))

    def leaves(self) -> Call:
        """Of tensors of their own that want a gradient, in the same layout."""
        return self.map(lambda t: t.detach().clone(memory_format=torch.preserve_format).requires_grad_())

    def gradients(self, impl: str = "auto", upstream: Tensor | None = None) -> tuple[Tensor, ...]:
        """For `upstream`, or for the sum of the squares of the output."""
        call = self.leaves()
        output = call(impl)
        output.backward(2 * output.detach() if upstream is None else upstream)
        found = tuple(t.grad for t in call.tensors if t.grad is not None)
        assert len(found) == len(call.tensors)
        return found

    def registered(self, impl: str) -> tuple[Any, ...]:
        """Arguments of the registered operator."""
        return (self.value, [side for shape in self.shapes for side in shape], *self.tensors[1:], impl)

    def unfused(self) -> Call:
        """The same samples as a call of `ms_deform_attn`."""
        if self.reference is None:
            return self
        size = torch.tensor([(w, h) for h, w in self.shapes], dtype=self.places.dtype)[:, None]
        per_level = self.reference if self.reference.ndim == 4 else self.reference[..., None, :]
        locations = per_level[..., None, :, None, :] + self.places / size
        weights = self.attention.flatten(3).softmax(-1).view(self.attention.shape)
        return Call(self.value, self.shapes, locations, weights)

    def by_loops(self) -> Tensor:
        """The definition, one multiply at a time, in float64."""
        call = self.unfused()
        B, Q, M, L, P, _ = call.places.shape
        D = call.value.shape[3]
        value, locations, weights = (t.tolist() for t in call.tensors)
        output = torch.zeros(B, Q, M * D, dtype=torch.float64)
        for b, q, m, level, p in itertools.product(*map(range, (B, Q, M, L, P))):
            height, width = call.shapes[level]
            start = sum(h * w for h, w in call.shapes[:level])
            x = locations[b][q][m][level][p][0] * width - 0.5
            y = locations[b][q][m][level][p][1] * height - 0.5
            if not (-1 < x < width and -1 < y < height):
                continue
            for row, column in itertools.product(
                (math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)
            ):
                if not (0 <= row < height and 0 <= column < width):
                    continue
                share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[b][q][m][level][p]
                for d in range(D):
                    output[b, q, m * D + d] += share * value[b][start + row * width + column][m][d]
        return output


def make_call(
    fused: bool = False,
    *,
    B: int = 2,
    Q: int = 3,
    M: int = 2,
    P: int = 2,
    D: int = 4,
    shapes: Shapes = ((5, 4), (3, 2)),
    dtype: torch.dtype = torch.float64,
    reference: str = "Q",
) -> Call:
    """Random arguments, some samples outside; none within 0.05 pixel of a line where the gradient jumps.

    `reference` names the leading dimensions of the reference points: Q, BQ or BQL.
    """
    L = len(shapes)
    size = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float64)[:, None]  # (L, 1, 2)
    cell = (torch.rand(B, Q, M, L, P, 2, dtype=torch.float64) * (size + 2)).floor() - 2  # -2 .. side - 1
    pixel = cell + 0.05 + 0.9 * torch.rand(cell.shape, dtype=torch.float64)
    value = torch.randn(B, sum(h * w for h, w in shapes), M, D, dtype=torch.float64)
    attention = torch.randn(B, Q, M, L, P, dtype=torch.float64)
    if not fused:
        return Call(value, shapes, (pixel + 0.5) / size, attention).map(lambda t: t.to(dtype))
    points = torch.rand(*{"Q": (Q,), "BQ": (B, Q), "BQL": (B, Q, L)}[reference], 2, dtype=torch.float64)
    per_level = points if reference == "BQL" else points[..., None, :]
    offsets = pixel + 0.5 - (per_level[..., None, :, None, :] * size)
    wide = dtype if dtype.itemsize >= 4 else torch.float32
    return Call(value.to(dtype), shapes, offsets.to(dtype), attention.to(dtype), points.to(wide))


@pytest.fixture(scope="session")
def make() -> Callable[..., Call]:
    """`make(fused, B=..., dtype=...)`: a call of either operator."""
    return make_call


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()

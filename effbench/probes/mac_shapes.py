"""Output shapes of the operators that counting meets most, without PyTorch's own shape functions.

On the meta device PyTorch takes these apart into dozens of small steps (4 ms for one bilinear resize). A count needs
the shape alone, and a table of all systems at all sizes then takes seconds. Tests hold each against PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

Shape = Callable[..., Any]


def _matrix_product(bias: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return first.new_empty((first.shape[0], second.shape[1]))


def _layer_norm(x: Tensor, normalised: Sequence[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    outer = x.shape[: x.dim() - len(normalised)] + (1,) * len(normalised)
    return torch.empty_like(x), x.new_empty(outer), x.new_empty(outer)


def _group_norm(
    x: Tensor, weight: Any, bias: Any, batch: int, channels: int, pixels: int, groups: int, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty((batch, groups)), x.new_empty((batch, groups))


def _resize(x: Tensor, output_size: Sequence[int], *_: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *output_size))


SHAPES: Mapping[Any, Shape] = {
    aten.addmm.default: _matrix_product,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.upsample_bilinear2d.default: _resize,
}
"""operator -> (its positional arguments) -> empty output."""


def attended(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    """What scaled_dot_product_attention returns: (..., L, Ev)."""
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


def multi_head_attended(query: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    """What multi_head_attention_forward returns without weights: (L, B, E) and None."""
    return torch.empty_like(query), None

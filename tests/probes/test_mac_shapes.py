"""The shape rules of counting against what PyTorch really returns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.probes import mac_shapes

aten = torch.ops.aten
ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    aten.addmm.default: (torch.randn(7), torch.randn(5, 3), torch.randn(3, 7)),
    aten.native_layer_norm.default: (torch.randn(2, 5, 6), [6], torch.ones(6), torch.zeros(6), 1e-5),
    aten.native_group_norm.default: (torch.randn(2, 6, 3, 4), torch.ones(6), torch.zeros(6), 2, 6, 12, 3, 1e-5),
    aten.upsample_bilinear2d.default: (torch.randn(2, 3, 4, 5), [7, 9], False),
}


def shapes(answer: Any) -> list[tuple[torch.Size, torch.dtype]]:
    return [(x.shape, x.dtype) for x in ([answer] if isinstance(answer, Tensor) else answer)]


@pytest.mark.parametrize("operator", mac_shapes.SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators(operator: Any, dtype: torch.dtype) -> None:
    arguments = [x.to(dtype) if isinstance(x, Tensor) else x for x in ARGUMENTS[operator]]
    assert shapes(mac_shapes.SHAPES[operator](*arguments)) == shapes(operator(*arguments))


def test_attention_of_any_batch() -> None:
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 3)
    expected = F.scaled_dot_product_attention(query, key, value)
    assert shapes(mac_shapes.attended(query, key, value)) == shapes(expected)
    attention = torch.nn.MultiheadAttention(8, 2)
    x, source = torch.randn(5, 2, 8), torch.randn(7, 2, 8)
    output, weights = mac_shapes.multi_head_attended(x, source, source)
    theirs, none = attention(x, source, source, need_weights=False)
    assert (output.shape, weights) == (theirs.shape, none)

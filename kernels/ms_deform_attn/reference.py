"""The operator in plain PyTorch: the definition that every faster implementation is held against.

Vocabulary: B batch, S tokens of all levels, M heads, D head dim, Q queries, L levels, P points.
Semantics follow the released kernel of Deformable DETR: bilinear interpolation at pixel centres
(`align_corners=False`), zeros outside the map, and a sample that is a pixel or more away from the map, or nowhere
(not finite), contributes nothing and gets no gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_BILINEAR, _ZEROS = 0, 0  # aten's enumeration of interpolation and padding modes
OUTSIDE = -2.0  # of every map, further than interpolation reaches

Shapes = Sequence[tuple[int, int]]


def reason(value: Tensor) -> str | None:
    """Why this implementation cannot run for `value`: it always can."""
    return None


def _widest(*tensors: Tensor) -> torch.dtype:
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def _levels(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> Iterator[tuple[int, int, Tensor, Tensor, Tensor]]:
    """Per level: its token range, and value (B*M, D, H, W), grid (B*M, Q, P, 2), weights (B*M, 1, Q, P).

    All in the widest of the three dtypes, so that float32 locations stay exact beside a 16-bit value.
    """
    widest = _widest(value, locations, weights)
    value, locations, weights = value.to(widest), locations.to(widest), weights.to(widest)
    B, _, M, D = value.shape
    Q, P = locations.shape[1], locations.shape[4]
    start = 0
    for level, (height, width) in enumerate(shapes):
        stop = start + height * width
        maps = value[:, start:stop].permute(0, 2, 3, 1).reshape(B * M, D, height, width)
        place = locations[:, :, :, level]
        x, y = (place[..., axis] * side - 0.5 for axis, side in enumerate((width, height)))
        reached = (x > -1) & (x < width) & (y > -1) & (y < height)
        grid = 2 * torch.where(reached[..., None], place, OUTSIDE) - 1
        weight = weights[:, :, :, level].transpose(1, 2).reshape(B * M, 1, Q, P)
        yield start, stop, maps, grid.transpose(1, 2).reshape(B * M, Q, P, 2), weight
        start = stop


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The operator's output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn`."""
    B, _, M, D = value.shape
    Q = locations.shape[1]
    output = value.new_zeros(B * M, D, Q, dtype=_widest(value, locations, weights))
    if output.numel() == 0:  # grid_sample refuses empty batches
        return value.new_zeros(B, Q, M * D)
    for _, _, maps, grid, weight in _levels(value, shapes, locations, weights):
        sampled = torch.grid_sampler_2d(maps, grid, _BILINEAR, _ZEROS, False)  # (B*M, D, Q, P)
        output += (sampled * weight).sum(-1)
    return output.view(B, M * D, Q).transpose(1, 2).to(value.dtype).contiguous()


def backward(
    grad: Tensor, value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights for `grad` (B, Q, M*D).

    The sampled values are gathered again instead of being kept from the forward pass: they are the largest
    tensor of the operator, L*P times its output.
    """
    B, _, M, D = value.shape
    Q, P = locations.shape[1], locations.shape[4]
    grad_value, grad_locations, grad_weights = (
        torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (value, locations, weights)
    )
    if grad.numel() == 0:
        return grad_value, grad_locations, grad_weights
    grad = grad.to(_widest(value, locations, weights)).reshape(B, Q, M, D).permute(0, 2, 3, 1).reshape(B * M, D, Q, 1)
    for level, (start, stop, maps, grid, weight) in enumerate(_levels(value, shapes, locations, weights)):
        sampled = torch.grid_sampler_2d(maps, grid, _BILINEAR, _ZEROS, False)
        grad_weight = (sampled * grad).sum(1)  # (B*M, Q, P)
        grad_maps, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad * weight, maps, grid, _BILINEAR, _ZEROS, False, [True, True]
        )
        grad_value[:, start:stop] = grad_maps.view(B, M, D, stop - start).permute(0, 3, 1, 2)
        grad_locations[:, :, :, level] = 2 * grad_grid.view(B, M, Q, P, 2).transpose(1, 2)
        grad_weights[:, :, :, level] = grad_weight.view(B, M, Q, P).transpose(1, 2)
    return grad_value, grad_locations, grad_weights


def forward_fused(value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor) -> Tensor:
    """The output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn_fused`."""
    return forward(value, shapes, _locations(shapes, offsets, reference), _attention(logits))


def backward_fused(
    grad: Tensor, value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offsets and logits for `grad` (B, Q, M*D)."""
    attention = _attention(logits)
    grad_value, grad_locations, grad_attention = backward(
        grad, value, shapes, _locations(shapes, offsets, reference), attention
    )
    weighted = grad_attention * attention
    grad_logits = weighted - attention * weighted.sum((-2, -1), keepdim=True)
    return grad_value, _over_sizes(shapes, grad_locations).to(offsets.dtype), grad_logits.to(logits.dtype)


def _locations(shapes: Shapes, offsets: Tensor, reference: Tensor) -> Tensor:
    """Where offsets from (Q, 2), (B, Q, 2) or (B, Q, L, 2) lie, (B, Q, M, L, P, 2), in the wider of the two dtypes."""
    per_level = reference[:, :, None, :, None] if reference.ndim == 4 else reference[..., None, None, None, :]
    return per_level + _over_sizes(shapes, offsets.to(_widest(offsets, reference)))


def _over_sizes(shapes: Shapes, pixels: Tensor) -> Tensor:
    """(B, Q, M, L, P, 2) in pixels of each level as shares of its width and height."""
    # Level by level with numbers of the host: a tensor of sizes would have to be copied to the device.
    return torch.stack(
        [
            torch.stack((pixels[:, :, :, level, :, 0] / width, pixels[:, :, :, level, :, 1] / height), dim=-1)
            for level, (height, width) in enumerate(shapes)
        ],
        dim=3,
    )


def _attention(logits: Tensor) -> Tensor:
    """Softmax of (B, Q, M, L, P) over levels and points, at least in float32."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide.flatten(3).softmax(-1).view(wide.shape)

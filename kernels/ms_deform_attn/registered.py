"""The operators as PyTorch sees them, so that autograd, torch.compile, export and FLOP counters know them.

Each has a backward operator of its own, which has no derivative: the second one is refused, not wrong. Shapes are
host integers, so nothing here waits for a device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from effbench.kernels.ms_deform_attn import costs
from effbench.kernels.ms_deform_attn.implementations import implementation


def _pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


@torch.library.custom_op("effbench::ms_deform_attn", mutates_args=())
def forward(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> Tensor:
    return implementation(impl, value).forward(value, _pairs(spatial_shapes), sampling_locations, attention_weights)


@torch.library.custom_op("effbench::ms_deform_attn_backward", mutates_args=())
def backward(
    grad: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    run = implementation(impl, value)
    return run.backward(grad, value, _pairs(spatial_shapes), sampling_locations, attention_weights)


@torch.library.custom_op("effbench::ms_deform_attn_fused", mutates_args=())
def fused(
    value: Tensor, spatial_shapes: Sequence[int], offsets: Tensor, logits: Tensor, reference: Tensor, impl: str
) -> Tensor:
    return implementation(impl, value).forward_fused(value, _pairs(spatial_shapes), offsets, logits, reference)


@torch.library.custom_op("effbench::ms_deform_attn_fused_backward", mutates_args=())
def fused_backward(
    grad: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    offsets: Tensor,
    logits: Tensor,
    reference: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    run = implementation(impl, value)
    return run.backward_fused(grad, value, _pairs(spatial_shapes), offsets, logits, reference)


@forward.register_fake
@fused.register_fake
def _output(value: Tensor, spatial_shapes: Sequence[int], places: Tensor, *_: Any) -> Tensor:
    return value.new_empty(value.shape[0], places.shape[1], value.shape[2] * value.shape[3])


@backward.register_fake
@fused_backward.register_fake
def _gradients(
    grad: Tensor, value: Tensor, spatial_shapes: Sequence[int], places: Tensor, attention: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(value), _like(places), _like(attention)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.spatial_shapes, ctx.impl = inputs[1], inputs[-1]
    ctx.save_for_backward(inputs[0], *inputs[2:-1])


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    grads = backward(grad.contiguous(), value, ctx.spatial_shapes, locations, weights, ctx.impl)
    return grads[0], None, grads[1], grads[2], None


def _differentiate_fused(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, offsets, logits, reference = ctx.saved_tensors
    grads = fused_backward(grad.contiguous(), value, ctx.spatial_shapes, offsets, logits, reference, ctx.impl)
    grad_reference = None
    if ctx.needs_input_grad[4]:
        grad_reference = _of_reference(grads[1], _pairs(ctx.spatial_shapes), reference)
    return grads[0], None, grads[1], grads[2], grad_reference, None


def _of_reference(grad_offsets: Tensor, shapes: Sequence[tuple[int, int]], reference: Tensor) -> Tensor:
    """A reference point moves its samples by the size of each level, in pixels."""
    moved = grad_offsets.to(reference.dtype).sum((2, 4))  # (B, Q, L, 2)
    per_level = torch.stack(
        [
            torch.stack((moved[:, :, level, 0] * w, moved[:, :, level, 1] * h), -1)
            for level, (h, w) in enumerate(shapes)
        ],
        dim=2,
    )
    return (per_level if reference.ndim == 4 else per_level.sum(2)).sum_to_size(reference.shape)


forward.register_autograd(_differentiate, setup_context=_keep)
fused.register_autograd(_differentiate_fused, setup_context=_keep)


# PyTorch's counter counts a multiply-accumulate as two FLOPs.
@register_flop_formula([torch.ops.effbench.ms_deform_attn, torch.ops.effbench.ms_deform_attn_fused])
def _forward_flops(value_shape: Sequence[int], spatial_shapes: Any, places: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * costs.forward_macs(places, value_shape[3])


@register_flop_formula([torch.ops.effbench.ms_deform_attn_backward, torch.ops.effbench.ms_deform_attn_fused_backward])
def _backward_flops(
    grad_shape: Any, value_shape: Sequence[int], spatial_shapes: Any, places: Sequence[int], *_: Any, **__: Any
) -> int:
    return 2 * costs.backward_macs(places, value_shape[3])

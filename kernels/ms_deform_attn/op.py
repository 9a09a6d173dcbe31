"""The operator as PyTorch sees it: registered, so that autograd, torch.compile and FLOP counters know it.

Refuses what it cannot run, by name, before anything is launched: there is no fallback from one implementation
to another. `impl="auto"` is resolved from the device by `resolve_implementation`, which records can ask, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from effbench.kernels.ms_deform_attn import costs, reference

_RUNS = {"reference": reference}
IMPLEMENTATIONS = tuple(_RUNS)
"""Names that `impl` takes besides "auto"."""


def resolve_implementation(impl: str, device: torch.device) -> str:
    """The implementation that `impl` means for tensors on `device`.

    Raises ValueError for an unknown name.
    """
    if impl == "auto":
        return "reference"
    if impl not in IMPLEMENTATIONS:
        raise ValueError(
            f"impl={impl!r} is not an implementation of ms_deform_attn; expected 'auto' or one of {IMPLEMENTATIONS}"
        )
    return impl


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str = "auto",
) -> Tensor:
    """Multi-scale deformable attention.

    Args:
        value: (B, S, M, D), the projected tokens of all levels, level after level, row-major.
        spatial_shapes: (H, W) of each of the L levels, as Python ints; their areas sum to S.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y) in [0, 1] over each map; outside reads zeros. Beside a
            16-bit value they may, and should, be float32: bfloat16 misses by pixels on wide maps.
        attention_weights: (B, Q, M, L, P), any values (softmax is the caller's), in value's dtype or float32.
        impl: "auto" or a name in `IMPLEMENTATIONS`.

    Returns:
        (B, Q, M*D) in value's dtype.

    Raises:
        ValueError: shapes that do not fit together, mixed dtypes or devices, an unknown `impl`.

    Source: Deformable DETR (Zhu et al. 2021), section 4.1; semantics of its released kernel.
    """
    _check(value, spatial_shapes, sampling_locations, attention_weights)
    impl = resolve_implementation(impl, value.device)
    flat = list(itertools.chain.from_iterable(spatial_shapes))
    return torch.ops.effbench.ms_deform_attn(value, flat, sampling_locations, attention_weights, impl)


def _check(value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor) -> None:
    if value.ndim != 4:
        raise ValueError(f"value has shape {tuple(value.shape)}, expected (B, S, M, D)")
    tokens = sum(height * width for height, width in shapes)
    if any(side < 1 for shape in shapes for side in shape) or tokens != value.shape[1]:
        raise ValueError(
            f"spatial_shapes {tuple(shapes)} hold {tokens} tokens, value has S={value.shape[1]}; "
            "expected positive (H, W) pairs whose areas sum to S"
        )
    B, _, M, _ = value.shape
    if locations.ndim != 6 or (locations.shape[0], *locations.shape[2:4], locations.shape[5]) != (
        B,
        M,
        len(shapes),
        2,
    ):
        raise ValueError(
            f"sampling_locations has shape {tuple(locations.shape)}, expected (B={B}, Q, M={M}, L={len(shapes)}, P, 2)"
        )
    if weights.shape != locations.shape[:-1]:
        raise ValueError(f"attention_weights has shape {tuple(weights.shape)}, expected {tuple(locations.shape[:-1])}")
    allowed = {value.dtype, torch.float32}
    if not value.is_floating_point() or not {locations.dtype, weights.dtype} <= allowed:
        raise ValueError(
            f"dtypes are {value.dtype}, {locations.dtype}, {weights.dtype}; expected a floating value, and locations "
            "and weights in its dtype or in float32"
        )
    if len({t.device for t in (value, locations, weights)}) > 1:
        raise ValueError(
            f"devices are {value.device}, {locations.device}, {weights.device}; expected one device for all"
        )


def _pairs(flat: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


@torch.library.custom_op("effbench::ms_deform_attn", mutates_args=())
def _forward(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> Tensor:
    return _RUNS[impl].forward(value, _pairs(spatial_shapes), sampling_locations, attention_weights)


@_forward.register_fake
def _forward_fake(
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> Tensor:
    B, _, M, D = value.shape
    return value.new_empty(B, sampling_locations.shape[1], M * D)


@torch.library.custom_op("effbench::ms_deform_attn_backward", mutates_args=())
def _backward(
    grad: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return _RUNS[impl].backward(grad, value, _pairs(spatial_shapes), sampling_locations, attention_weights)


@_backward.register_fake
def _backward_fake(
    grad: Tensor,
    value: Tensor,
    spatial_shapes: Sequence[int],
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(sampling_locations), torch.empty_like(attention_weights)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    value, ctx.spatial_shapes, locations, weights, ctx.impl = inputs
    ctx.save_for_backward(value, locations, weights)


def _autograd(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    value, locations, weights = ctx.saved_tensors
    grads = torch.ops.effbench.ms_deform_attn_backward(
        grad.contiguous(), value, ctx.spatial_shapes, locations, weights, ctx.impl
    )
    return grads[0], None, grads[1], grads[2], None


_forward.register_autograd(_autograd, setup_context=_setup_context)


# PyTorch's counter counts a multiply-accumulate as two FLOPs.
@register_flop_formula(torch.ops.effbench.ms_deform_attn)
def _forward_flops(
    value_shape: Sequence[int], spatial_shapes: Any, locations_shape: Sequence[int], *_: Any, **__: Any
) -> int:
    return 2 * costs.forward_macs(locations_shape, value_shape[3])


@register_flop_formula(torch.ops.effbench.ms_deform_attn_backward)
def _backward_flops(
    grad_shape: Any,
    value_shape: Sequence[int],
    spatial_shapes: Any,
    locations_shape: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    return 2 * costs.backward_macs(locations_shape, value_shape[3])

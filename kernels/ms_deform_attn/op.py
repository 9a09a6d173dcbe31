"""The operator for callers: two ways to say where samples lie, checked by name before anything is launched."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import registered as registered
from effbench.kernels.ms_deform_attn.implementations import check_name
from effbench.kernels.ms_deform_attn.reference import Shapes


def ms_deform_attn(
    value: Tensor,
    spatial_shapes: Shapes,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    impl: str = "auto",
) -> Tensor:
    """Multi-scale deformable attention at locations that the caller computed.

    Args:
        value: (B, S, M, D), the projected tokens of all levels, level after level, row-major. Under autocast
            float32 becomes autocast's type; nothing else is cast.
        spatial_shapes: (H, W) of each of the L levels, as Python ints; their areas sum to S.
        sampling_locations: (B, Q, M, L, P, 2) as (x, y) in [0, 1] over each map; outside reads zeros. Beside a
            16-bit value they may, and should, be float32: bfloat16 misses by pixels on wide maps.
        attention_weights: (B, Q, M, L, P), any values (softmax is the caller's), in value's dtype or float32.
        impl: "auto" or a name in `IMPLEMENTATIONS`.

    Returns:
        (B, Q, M*D) in value's dtype. It can be differentiated once.

    Raises:
        ValueError: shapes that do not fit together, mixed dtypes or devices, an unknown `impl` or one that cannot
            serve this value.

    Source: Deformable DETR (Zhu et al. 2021), section 4.1; semantics of its released kernel.
    """
    value = _autocast(value)
    _check_value(value, spatial_shapes)
    _check_samples(
        value, spatial_shapes, ("sampling_locations", sampling_locations), ("attention_weights", attention_weights)
    )
    _check_devices(value, sampling_locations, attention_weights)
    check_name(impl)
    flat = list(itertools.chain.from_iterable(spatial_shapes))
    return torch.ops.effbench.ms_deform_attn(value, flat, sampling_locations, attention_weights, impl)


def ms_deform_attn_fused(
    value: Tensor,
    spatial_shapes: Shapes,
    offsets: Tensor,
    logits: Tensor,
    reference: Tensor,
    impl: str = "auto",
) -> Tensor:
    """Multi-scale deformable attention from what the projections give: offsets in pixels, and logits.

    Equals `ms_deform_attn` at `reference + offsets / (W, H)` with the softmax of `logits` over levels and points,
    without writing either to memory; and as offsets are small numbers, fewer bits do for them.

    Args:
        value, spatial_shapes, impl: as in `ms_deform_attn`.
        offsets: (B, Q, M, L, P, 2) as (x, y) in pixels of each level, in value's dtype or float32.
        logits: (B, Q, M, L, P), in value's dtype or float32.
        reference: (Q, 2), (B, Q, 2) or (B, Q, L, 2) as (x, y) in [0, 1], float32 or float64. A sample lies at
            pixel reference * size - 0.5 + offset.

    Returns:
        (B, Q, M*D) in value's dtype. It can be differentiated once.

    Raises:
        ValueError: as `ms_deform_attn`.
    """
    value = _autocast(value)
    _check_value(value, spatial_shapes)
    _check_samples(value, spatial_shapes, ("offsets", offsets), ("logits", logits))
    _check_reference(reference, offsets)
    _check_devices(value, offsets, logits, reference)
    check_name(impl)
    flat = list(itertools.chain.from_iterable(spatial_shapes))
    return torch.ops.effbench.ms_deform_attn_fused(value, flat, offsets, logits, reference, impl)


def _autocast(value: Tensor) -> Tensor:
    """PyTorch's own rule would cast all arguments, and 16 bits cannot name a pixel of a wide map."""
    device = value.device.type
    if value.dtype != torch.float32 or device == "meta" or not torch.is_autocast_enabled(device):
        return value
    return value.to(torch.get_autocast_dtype(device))


def _check_value(value: Tensor, shapes: Shapes) -> None:
    if value.ndim != 4 or 0 in value.shape[2:]:
        raise ValueError(f"value has shape {tuple(value.shape)}, expected (B, S, M, D) with heads and channels")
    if not value.is_floating_point():
        raise ValueError(f"value is {value.dtype}, expected a floating dtype")
    tokens = sum(height * width for height, width in shapes)
    if not shapes or any(side < 1 for shape in shapes for side in shape) or tokens != value.shape[1]:
        raise ValueError(
            f"spatial_shapes {tuple(shapes)} hold {tokens} tokens, value has S={value.shape[1]}; "
            "expected positive (H, W) pairs whose areas sum to S"
        )


def _check_samples(value: Tensor, shapes: Shapes, places: tuple[str, Tensor], attention: tuple[str, Tensor]) -> None:
    B, _, M, _ = value.shape
    name, tensor = places
    fixed = (*tensor.shape[:1], *tensor.shape[2:4], *tensor.shape[5:])
    if tensor.ndim != 6 or fixed != (B, M, len(shapes), 2) or tensor.shape[4] == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected (B={B}, Q, M={M}, L={len(shapes)}, P, 2) with points"
        )
    if attention[1].shape != tensor.shape[:-1]:
        raise ValueError(
            f"{attention[0]} has shape {tuple(attention[1].shape)}, expected {tuple(tensor.shape[:-1])} as {name}"
        )
    for name, tensor in (places, attention):
        if tensor.dtype not in (value.dtype, torch.float32):
            raise ValueError(
                f"{name} is {tensor.dtype} beside a value in {value.dtype}; expected the value's dtype or float32"
            )


def _check_reference(reference: Tensor, offsets: Tensor) -> None:
    B, Q, _, L, _, _ = offsets.shape
    if tuple(reference.shape) not in ((Q, 2), (B, Q, 2), (B, Q, L, 2)):
        raise ValueError(
            f"reference has shape {tuple(reference.shape)}, expected ({Q}, 2), ({B}, {Q}, 2) or ({B}, {Q}, {L}, 2)"
        )
    if reference.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"reference is {reference.dtype}; expected float32 or float64: 16 bits cannot name a pixel")


def _check_devices(*tensors: Tensor) -> None:
    if len({tensor.device for tensor in tensors}) > 1:
        raise ValueError(f"devices are {', '.join(str(t.device) for t in tensors)}; expected one device for all")

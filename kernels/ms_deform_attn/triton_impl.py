"""The operator on Triton kernels: what they need of their arguments, and what is allocated for them.

Every argument is made contiguous, so any layout is right and a packed one is fastest. A value that does not
start at a multiple of 16 bytes is right, too, but read in smaller pieces.
"""

from __future__ import annotations

import functools
import importlib.util

import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import triton_deterministic
from effbench.kernels.ms_deform_attn.triton_launch import MAX_CHANNELS, Launch, Shapes

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def reason(value: Tensor) -> str | None:
    """Why the kernels cannot serve `value` (B, S, M, D), or None if they can."""
    if not installed():
        return "triton is not installed"
    if value.device.type != "cuda" and not interpreted():
        return f"value is on {value.device}; Triton needs a CUDA device, or TRITON_INTERPRET=1 before it is imported"
    if value.dtype not in DTYPES:
        return f"value is {value.dtype}; the Triton kernels take {', '.join(map(str, DTYPES))}"
    if not 1 <= value.shape[3] <= MAX_CHANNELS:
        return f"value has D={value.shape[3]} channels per head; the Triton kernels take 1 to {MAX_CHANNELS}"
    return None


@functools.cache
def installed() -> bool:
    """Whether there is a Triton to import."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def interpreted() -> bool:
    """Whether Triton was imported under TRITON_INTERPRET=1, and runs kernels on the CPU."""
    from triton.runtime import JITFunction

    from effbench.kernels.ms_deform_attn.triton_forward import forward_kernel

    return not isinstance(forward_kernel, JITFunction)


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The operator's output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn`."""
    return _forward(value, shapes, locations, weights, None)


def forward_fused(value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor) -> Tensor:
    """The output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn_fused`."""
    return _forward(value, shapes, offsets, logits, reference)


def backward(
    grad: Tensor, value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights for `grad` (B, Q, M*D), each in its argument's dtype.

    The last bits of the first depend on the order of atomic additions, unless
    `torch.are_deterministic_algorithms_enabled()`, at the price that `triton_deterministic` states.
    """
    return _backward(grad, value, shapes, locations, weights, None)


def backward_fused(
    grad: Tensor, value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offsets and logits, as `backward`."""
    return _backward(grad, value, shapes, offsets, logits, reference)


def _forward(value: Tensor, shapes: Shapes, points: Tensor, scores: Tensor, reference: Tensor | None) -> Tensor:
    from effbench.kernels.ms_deform_attn.triton_forward import forward_kernel

    B, _, M, D = value.shape
    output = value.new_empty(B, points.shape[1], M * D)
    if output.numel() == 0:
        return output
    value, points, scores, reference = value.contiguous(), points.contiguous(), scores.contiguous(), _full(reference)
    launch = Launch("forward", value, shapes, points, reference)
    launch(forward_kernel, value, points, scores, _pointer(reference, points), output)
    return output


def _backward(
    grad: Tensor, value: Tensor, shapes: Shapes, points: Tensor, scores: Tensor, reference: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    from effbench.kernels.ms_deform_attn.triton_backward import backward_kernel

    grad, value, points, scores = (t.contiguous() for t in (grad, value, points, scores))
    reference = _full(reference)
    grad_points, grad_scores = torch.empty_like(points), torch.empty_like(scores)
    # Hundreds of additions may meet in a pixel: 16 bits would not do.
    grad_value = torch.zeros_like(value, dtype=torch.float32)
    if grad.numel() == 0:
        return grad_value.to(value.dtype), grad_points, grad_scores
    launch = Launch("backward", value, shapes, points, reference)
    scatter = not torch.are_deterministic_algorithms_enabled()
    tensors = (grad, value, points, scores, _pointer(reference, points), grad_value, grad_points, grad_scores)
    launch(backward_kernel, *tensors, SCATTER=scatter)
    if not scatter:
        grad_value = triton_deterministic.grad_value(grad, value, shapes, points, scores, reference)
    return grad_value.to(value.dtype), grad_points, grad_scores


def _full(reference: Tensor | None) -> Tensor | None:
    """Reference points as (1 or B, Q, 1 or L, 2) in float32, packed."""
    if reference is None:
        return None
    if reference.ndim == 2:
        reference = reference[None]
    if reference.ndim == 3:
        reference = reference[:, :, None]
    return reference.float().contiguous()


def _pointer(reference: Tensor | None, points: Tensor) -> Tensor:
    """A kernel's argument cannot be missing; without reference points it is never read."""
    return points if reference is None else reference

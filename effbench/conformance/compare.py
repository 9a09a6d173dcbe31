"""Outputs side by side, and encoders moved away from the zeros that they start with."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from effbench.encoders.contract import Encoder, EncoderOutput

NAMES = ("mask_features", "multi_scale[0]", "multi_scale[1]", "multi_scale[2]")


def tensors(output: EncoderOutput) -> tuple[Tensor, ...]:
    """The four maps of an output, in the order of `NAMES`."""
    return output.mask_features, *output.multi_scale


def difference(a: EncoderOutput, b: EncoderOutput, atol: float = 0.0, rtol: float = 0.0) -> str | None:
    """The first map in which `b` differs from `a` by more than is allowed, and by how much; None when none does."""
    for name, x, y in zip(NAMES, tensors(a), tensors(b), strict=True):
        if x.shape != y.shape:
            return f"{name} is {tuple(y.shape)} instead of {tuple(x.shape)}"
        y = y.to(x.dtype)
        if not torch.allclose(y, x, rtol, atol):
            return f"{name} differs by up to {(x - y).abs().max():.1e}"
    if (a.exit is None) != (b.exit is None) or (
        a.exit is not None and b.exit is not None and not torch.equal(a.exit, b.exit)
    ):
        return f"exit is {b.exit} instead of {a.exit}"
    return None


def image(output: EncoderOutput, index: int) -> EncoderOutput:
    """One image of a batch, as a batch of one."""
    mask_features, *scales = (x[index : index + 1] for x in tensors(output))
    exit = None if output.exit is None else output.exit[index : index + 1]
    return EncoderOutput(mask_features, (scales[0], scales[1], scales[2]), exit)


@torch.no_grad()
def moved(encoder: Encoder) -> Encoder:
    """Away from an initialisation with zeros, which stop gradients legitimately and hide what depends on the input.

    The noise shrinks with the fan-in, so that wide encoders stay in range.
    """
    for parameter in encoder.parameters():
        scale = 0.5 / math.sqrt(parameter[0].numel()) if parameter.dim() > 1 else 0.1
        parameter.add_(scale * torch.randn_like(parameter))
    return encoder


def listed(names: Iterable[str], most: int = 4) -> str:
    """`names` for a message: the first ones, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more

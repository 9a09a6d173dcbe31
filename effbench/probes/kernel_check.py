"""Is what an implementation computes right? Asked before it is timed, of some queries, in float64.

The queries are the first and the last ones of every image (where a block may reach over its end), and others by
chance. The upstream gradient is zero for all but them, so that float64 has to derive no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from effbench.peers.own import exact
from effbench.probes.kernel_inputs import Inputs, Problem, inputs

ENDS = 32
OUTPUT = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
GRADIENTS = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Errors that are allowed, beside what float32 coordinates cost (`coordinates`)."""
COORDINATES = 16
MARGIN = 1e-3
"""Pixels around a grid line within which a gradient of a location is not compared: it jumps there."""

PLACES = ("locations", "offsets")

Run = Callable[..., Tensor]


@dataclass(frozen=True)
class Accuracy:
    """How far one tensor is from the truth.

    Attributes:
        error: largest |difference| / (|truth| + rms of the truth), None where that is no number.
        max_abs, rms: of the differences; None as above.
        rms_of_truth: what they are to be seen beside.
        tolerance: most that `error` may be.
        left_out: numbers that were not compared (`MARGIN`).
    """

    error: float | None
    max_abs: float | None
    rms: float | None
    rms_of_truth: float
    tolerance: float
    left_out: int

    @property
    def right(self) -> bool:
        """Whether it may be timed."""
        return self.error is not None and self.error <= self.tolerance


def check(run: Run, of: Problem, fused: bool, backward: bool, most: int) -> dict[str, Accuracy]:
    """What `run`, of the arguments as (value, shapes, ...), gives for `of`: output, and with `backward` gradients.

    At most about `most` queries of each image are compared. Raises ValueError for an output of another shape or dtype.
    """
    made = inputs(of)
    queries = chosen(of.Q, most, of.device)
    truths = truth(of, fused, backward, most)
    leaves = [tensor.detach().requires_grad_(backward) for tensor in (made.value, *made.arguments(fused)[:2])]
    output = run(leaves[0], of.shapes, *leaves[1:], *made.arguments(fused)[2:])
    if output.shape != made.grad.shape or output.dtype != of.dtype:
        raise ValueError(
            f"the output is {output.dtype} {tuple(output.shape)}; expected {of.dtype} {tuple(made.grad.shape)}"
        )
    found = {"output": output.detach()[:, queries]}
    if backward:
        grads = torch.autograd.grad(output, leaves, _upstream(made, queries))
        found |= _named([grads[0], *(grad[:, queries] for grad in grads[1:])], of, fused)
    jumps = _jumps(of, made, queries) if backward else None
    return {
        name: accuracy(tensor, truths[name], _tolerance(of, name), jumps if name in PLACES else None)
        for name, tensor in found.items()
    }


def verdict(found: Mapping[str, Accuracy]) -> str | None:
    """Why the implementation is not timed, or None."""
    wrong = [
        f"{name} {'has no number' if one.error is None else f'{one.error:.2g}'} (at most {one.tolerance:.2g})"
        for name, one in found.items()
        if not one.right
    ]
    if not wrong:
        return None
    return f"wrong, and not timed; largest |difference| / (|truth| + rms) against float64: {', '.join(wrong)}"


def to_json(found: Mapping[str, Accuracy]) -> dict[str, Any]:
    """For the record."""
    return {name: {**asdict(one), "right": one.right} for name, one in found.items()}


def accuracy(found: Tensor, truth: Tensor, tolerance: float, jumps: Tensor | None = None) -> Accuracy:
    """`found` against `truth` in float64, where `jumps` (the same shape, or None) is not true."""
    difference, left_out = (found.double() - truth).abs(), 0
    if jumps is not None:
        left_out = int(jumps.sum())
        difference = difference.masked_fill(jumps, 0.0)
    rms = truth.square().mean().sqrt() if truth.numel() else truth.new_zeros(())
    share = difference / (truth.abs() + rms + torch.finfo(torch.float64).tiny)
    return Accuracy(
        _number(share.amax() if share.numel() else rms),
        _number(difference.amax() if share.numel() else rms),
        _number(difference.square().mean().sqrt() if share.numel() else rms),
        float(rms),
        tolerance,
        left_out,
    )


def coordinates(of: Problem) -> float:
    """What it costs that a coordinate is a float32: a few units in the last place of the longest side, in pixels.

    Of random maps the output changes by several times its own size per pixel.
    """
    return COORDINATES * torch.finfo(torch.float32).eps * max(side for shape in of.shapes for side in shape)


@lru_cache(maxsize=4)
def truth(of: Problem, fused: bool, backward: bool, most: int) -> dict[str, Tensor]:
    """Output and gradients of the checked queries in float64, gradients of locations per pixel."""
    made = inputs(of)
    queries = chosen(of.Q, most, of.device)
    places, scores, *reference = made.arguments(fused)
    leaves = [tensor.double() for tensor in (made.value, places[:, queries], scores[:, queries])]
    leaves = [leaf.requires_grad_(backward) for leaf in leaves]
    output = exact(leaves[0], of.shapes, *leaves[1:], *(points[queries] for points in reference))
    found = {"output": output.detach()}
    if backward:
        grads = torch.autograd.grad(output, leaves, made.grad[:, queries].double())
        found |= _named(grads, of, fused)
    return found


def chosen(Q: int, most: int, device: str) -> Tensor:
    """Which queries are compared: all, or the ends and others by chance, ascending."""
    if most >= Q:
        return torch.arange(Q, device=device)
    middle = torch.randperm(Q, generator=torch.Generator().manual_seed(0))[: max(0, most - 2 * ENDS)]
    ends = torch.arange(min(ENDS, Q))
    return torch.cat([ends, Q - 1 - ends, middle]).unique().to(device)


def _upstream(made: Inputs, queries: Tensor) -> Tensor:
    grad = torch.zeros_like(made.grad)
    grad[:, queries] = made.grad[:, queries]
    return grad


def _named(grads: Sequence[Tensor], of: Problem, fused: bool) -> dict[str, Tensor]:
    """Gradients by the name of what they are of; those of locations per pixel."""
    value, places, scores = grads
    if fused:
        return {"value": value, "offsets": places, "logits": scores}
    sizes = torch.tensor(of.shapes, device=places.device).flip(1)[:, None]
    return {"value": value, "locations": places.double() / sizes, "weights": scores}


def _jumps(of: Problem, made: Inputs, queries: Tensor) -> Tensor:
    """Which coordinates of the samples lie on a grid line, (B, q, M, L, P, 2)."""
    sizes = torch.tensor(of.shapes, device=made.locations.device).flip(1)[:, None]
    place = made.locations[:, queries].double() * sizes - 0.5
    return (place - place.round()).abs() < MARGIN


def _tolerance(of: Problem, name: str) -> float:
    return (OUTPUT if name == "output" else GRADIENTS)[of.dtype] + coordinates(of)


def _number(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None

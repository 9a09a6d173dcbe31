"""What a peer of the operator is: known by name without being imported, loaded where it is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Shapes = Sequence[tuple[int, int]]

Op = Callable[[Tensor, Shapes, Tensor, Tensor], Tensor]
"""(value, shapes, locations, weights) -> (B, Q, M*D), as our `ms_deform_attn` takes them."""

FusedOp = Callable[[Tensor, Shapes, Tensor, Tensor, Tensor], Tensor]
"""(value, shapes, offsets, logits, reference) -> (B, Q, M*D), as our `ms_deform_attn_fused` takes them."""


class Case(NamedTuple):
    """A call of the operator, before any tensor of it is made: sizes, and what is asked of it."""

    device: str
    dtype: torch.dtype
    B: int
    S: int
    M: int
    D: int
    Q: int
    L: int
    P: int
    fused: bool
    backward: bool


class Implementation(NamedTuple):
    """The calls that an implementation has; None where it has none."""

    op: Op | None = None
    fused: FusedOp | None = None


def nothing(*_: object) -> None:
    """For a peer that is always there, or that refuses nothing."""


@dataclass(frozen=True)
class Peer:
    """An implementation under the name that records have.

    Attributes:
        load: makes it callable, in the process that times it; may raise.
        absent: why this machine does not have it, or None. Imports none of it: importing some touches the GPU.
        refuses: why it cannot serve a case, or None. What it would only get wrong is left to the check.
        package: distribution whose version belongs into the record.
    """

    load: Callable[[], Implementation]
    absent: Callable[[], str | None] = nothing
    refuses: Callable[[Case], str | None] = nothing
    package: str | None = None


def chain(op: Op) -> FusedOp:
    """The fused operator around one that is not: locations and softmax by PyTorch, as models have it."""

    def run(value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor) -> Tensor:
        return op(value, shapes, locations(shapes, offsets, reference), softmax(logits))

    return run


def locations(shapes: Shapes, offsets: Tensor, reference: Tensor) -> Tensor:
    """(B, Q, M, L, P, 2) in [0, 1], in the wider dtype: `offsets` in pixels from `reference` (Q, 2)."""
    return reference[:, None, None, None] + offsets / _sizes(tuple(shapes), offsets.device)


def softmax(logits: Tensor) -> Tensor:
    """Over levels and points (B, Q, M, L, P), in float32 inside, in the dtype of the logits."""
    return logits.flatten(3).softmax(-1, dtype=torch.float32).view(logits.shape).to(logits.dtype)


class Table(NamedTuple):
    """The levels as most peers take them: sizes (L, 2) as (H, W), and the first token of each (L,), both int64."""

    shapes: Tensor
    starts: Tensor


@lru_cache(maxsize=8)
def table(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Table:
    """Made once, since models keep it, too: its copy to the device is inside no clock."""
    sizes = torch.tensor(shapes, device=device)
    areas = sizes.prod(1)
    return Table(sizes, areas.cumsum(0) - areas)


@lru_cache(maxsize=8)
def _sizes(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """(L, 1, 2) as (W, H), in float32."""
    return torch.tensor(shapes, device=device).flip(1)[:, None].float()

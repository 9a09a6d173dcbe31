"""Inputs of the operator, the same in every run: where queries look decides what the caches are worth.

Three sets of sampling locations, all as offsets in pixels of each level around the query's own place:

- `initial`: what Deformable DETR starts from, head m looking in direction m, point p at distance p + 1, and Gaussian
  noise of 2 px for each sample by itself (which no training leaves: neighbours look alike).
- `realistic`: the same pattern, and a field that varies smoothly over the image, of 4 px: one Gaussian number for each
  of 16 x 16 places and each head, level, point and axis, interpolated cubically.
- `uniform`: anywhere in the image, as public benchmarks have it.

Values, logits and the upstream gradient are Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.encoders.registry import setting_defaults
from effbench.errors import InputError
from effbench.peers.contract import Case, locations, softmax
from effbench.probes.base import parse_size
from effbench.study.cell import Cell

STRIDES = (32, 16, 8)
INITIAL_PX, REALISTIC_PX, FIELD = 2.0, 4.0, 16
LOCATIONS = ("initial", "realistic", "uniform")


@dataclass(frozen=True)
class Problem:
    """Everything that inputs depend on.

    Attributes:
        shapes: (H, W) of the levels, coarse to fine.
        Q: queries per image. As many as tokens are the encoder's, at the pixels of the levels; others, as a decoder
            has them, are anywhere in the image.
        locations: one of `LOCATIONS`.
    """

    shapes: tuple[tuple[int, int], ...]
    B: int
    M: int
    D: int
    P: int
    Q: int
    locations: str
    dtype: torch.dtype
    device: str

    @property
    def S(self) -> int:
        """Tokens of all levels."""
        return sum(height * width for height, width in self.shapes)

    @property
    def encoder(self) -> bool:
        """Whether its queries are the encoder's."""
        return self.Q == self.S

    def case(self, fused: bool, backward: bool) -> Case:
        """The call as peers are asked about it."""
        sizes = (self.B, self.S, self.M, self.D, self.Q, len(self.shapes), self.P)
        return Case(self.device, self.dtype, *sizes, fused, backward)


class Inputs(NamedTuple):
    """Tensors of a problem: value, logits, weights, offsets and grad in its dtype, the others in float32.

    `locations` and `weights` come of the rounded `offsets` and `logits`, so that both operators are asked the same.
    """

    value: Tensor
    offsets: Tensor
    logits: Tensor
    reference: Tensor
    locations: Tensor
    weights: Tensor
    grad: Tensor

    def arguments(self, fused: bool) -> tuple[Tensor, ...]:
        """What stands beside the value and the shapes in a call."""
        return (self.offsets, self.logits, self.reference) if fused else (self.locations, self.weights)


def settings_of(cell: Cell) -> dict[str, Any]:
    """All settings of the cell's encoder, those that nobody chose included."""
    return {**setting_defaults(cell.encoder, cell.settings), **cell.settings, **cell.width}


def problem(cell: Cell) -> Problem:
    """The cell's problem: the operator as its encoder calls it at `cell.size` "HxW", in heads, points and width.

    It is asked with `cell.queries` per image, at `options["locations"]`. Raises InputError for locations that do not
    exist.
    """
    settings = settings_of(cell)
    where = cell.options["locations"]
    if where not in LOCATIONS:
        raise InputError(f"locations {where!r}; expected one of {', '.join(LOCATIONS)}")
    height, width = parse_size(cell.size)
    shapes = tuple((math.ceil(height / stride), math.ceil(width / stride)) for stride in STRIDES)
    return Problem(
        shapes,
        cell.batch,
        settings["heads"],
        settings["dim"] // settings["heads"],
        settings["points"],
        cell.queries,
        where,
        getattr(torch, cell.dtype),
        cell.device,
    )


@lru_cache(maxsize=1)
def inputs(of: Problem) -> Inputs:
    """The tensors; those of the last problem are kept, since all implementations are asked it one after another."""
    random = torch.Generator(of.device).manual_seed(0)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=of.device)

    levels, dtype = len(of.shapes), of.dtype
    anywhere = torch.rand(of.Q, 2, generator=random, device=of.device)
    reference = pixels(of.shapes, of.device) if of.encoder else anywhere
    sizes = torch.tensor(of.shapes, device=of.device).flip(1)[:, None]
    if of.locations == "uniform":
        place = torch.rand(of.B, of.Q, of.M, levels, of.P, 2, generator=random, device=of.device)
        offsets = (place - reference[:, None, None, None]) * sizes
    elif of.locations == "initial":
        offsets = pattern(of.M, of.P, of.device) + INITIAL_PX * gaussian(of.B, of.Q, of.M, levels, of.P, 2)
    else:
        fields = [_field(gaussian(1, of.M * levels * of.P * 2, FIELD, FIELD), reference) for _ in range(of.B)]
        offsets = pattern(of.M, of.P, of.device) + torch.stack(fields).view(of.B, of.Q, of.M, levels, of.P, 2)
    offsets = offsets.to(dtype)
    logits = gaussian(of.B, of.Q, of.M, levels, of.P).to(dtype)
    return Inputs(
        gaussian(of.B, of.S, of.M, of.D).to(dtype),
        offsets,
        logits,
        reference,
        locations(of.shapes, offsets.double(), reference.double()).float(),
        softmax(logits),
        gaussian(of.B, of.Q, of.M * of.D).to(dtype),
    )


def pixels(shapes: Sequence[tuple[int, int]], device: str) -> Tensor:
    """Centres of all pixels of all levels as (x, y) in [0, 1], (S, 2): the encoder's reference points."""
    found = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        found.append(torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).view(-1, 2))
    return torch.cat(found)


def pattern(heads: int, points: int, device: str) -> Tensor:
    """Offsets (M, 1, P, 2) in pixels of Deformable DETR's initialisation (Zhu et al. 2021, released code)."""
    angle = torch.arange(heads, device=device) * (2 * math.pi / heads)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    direction /= direction.abs().amax(-1, keepdim=True)
    return direction[:, None, None] * torch.arange(1, points + 1, device=device)[:, None]


def _field(places: Tensor, reference: Tensor) -> Tensor:
    """Numbers at `places` (1, C, h, w) of the image, interpolated to `reference` (Q, 2): (Q, C) of 4 px each."""
    grid = (2 * reference - 1)[None, :, None]
    found = F.grid_sample(places, grid, mode="bicubic", padding_mode="border", align_corners=False)[0, :, :, 0].T
    return REALISTIC_PX * found / found.std(0, correction=0).clamp(min=1e-3)


def bytes_moved(of: Problem, fused: bool, direction: str) -> dict[str, int]:
    """Bytes that one run must move, and bytes that it gathers or scatters if no sample shares a pixel with another.

    Compulsory: every argument is read once and every result written once; the backward also reads what the forward
    was given. Gathered: four pixels of D channels for each sample, and in the backward as many again for its additions.
    """
    item = of.dtype.itemsize
    samples = of.B * of.Q * of.M * len(of.shapes) * of.P
    value, output = of.B * of.S * of.M * of.D * item, of.B * of.Q * of.M * of.D * item
    sampling = samples * (3 * item if fused else 8 + item) + (8 * of.Q if fused else 0)
    forward, backward = value + sampling + output, 2 * (value + sampling) + output
    gathered = 4 * samples * of.D * item
    return {
        "compulsory": {"forward": forward, "backward": backward, "both": forward + backward}[direction],
        "gathered": {"forward": gathered, "backward": 2 * gathered, "both": 3 * gathered}[direction],
    }


def rows_touched(of: Problem, direction: str) -> dict[str, int]:
    """Rows of D channels that one run reads, and adds to: four for each sample, those outside the map counted, too."""
    rows = 4 * of.B * of.Q * of.M * len(of.shapes) * of.P
    return {
        "gathered": {"forward": rows, "backward": rows, "both": 2 * rows}[direction],
        "added": 0 if direction == "forward" else rows,
    }

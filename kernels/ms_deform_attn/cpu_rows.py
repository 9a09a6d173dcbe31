"""Maps with zeros around them, as rows that a sample finds by arithmetic alone.

A level of H x W pixels lies in a block of (H + 4) x (W + 2) with its own pixels at (2, 1), blocks one after another.
Whatever lies right of a map is also left of its next line, so that two zeros are there on every side, and a sample
that is moved to -2 ... W, -2 ... H needs no test of its four pixels. A pixel has M rows, one for each head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Pixels down and right of a sample's upper left one."""


class Level(NamedTuple):
    """Where a level lies among an image's tokens and pixels."""

    height: int
    width: int
    token: int
    block: int

    def tokens(self, value: Tensor) -> Tensor:
        """(B, S, ...) to this level's (B, H, W, ...)."""
        part = value[:, self.token : self.token + self.height * self.width]
        return part.unflatten(1, (self.height, self.width))

    def inside(self, padded: Tensor, down: int = 0, across: int = 0) -> Tensor:
        """(B, pixels, ...) to what lies so many pixels up and left of this level's own, (B, H, W, ...)."""
        height, width = self.height + 4, self.width + 2
        block = padded[:, self.block : self.block + height * width].unflatten(1, (height, width))
        return block[:, 2 - down : 2 - down + self.height, 1 - across : 1 - across + self.width]


class Rows(NamedTuple):
    """The layout, and its numbers for the M*L*P samples of a query."""

    levels: tuple[Level, ...]
    pixels: int
    """Of an image: those of all blocks, one before the first and one after the last."""
    size: Tensor
    """(2, 1, M*L*P): width and height of a sample's map."""
    first: Tensor
    """(M*L*P,) int32: row of its pixel (0, 0)."""
    down: Tensor
    """(M*L*P,) int32: rows from a pixel to the one below."""
    tokens: Tensor
    """(4, pixels) int64: a pixel's own token, and its right, lower and lower right neighbour's; -1 outside maps."""

    def padded(self, value: Tensor) -> Tensor:
        """(B, S, M, D) to float32 (B, pixels, M, D)."""
        padded = value.new_zeros(value.shape[0], self.pixels, *value.shape[2:], dtype=torch.float32)
        for level in self.levels:
            level.inside(padded).copy_(level.tokens(value))
        return padded

    def sum_of_corners(self, corners: Sequence[Tensor], out: Tensor) -> None:
        """Fill (B, S, M, D) from what every pixel gives to itself and to its right, lower and lower right neighbour.

        `corners` are the four in this order, each (B, pixels, M, D).
        """
        for level in self.levels:
            first, second, *others = (level.inside(x, *place) for x, place in zip(corners, CORNERS, strict=True))
            total = first + second
            for other in others:
                total += other
            level.tokens(out).copy_(total)

    def add_corners(self, rows: Tensor, corners: Sequence[Tensor], out: Tensor) -> None:
        """As `sum_of_corners` where few pixels give anything: add to (B, S, M, D), which holds zeros.

        `corners` (n, D) are of different `rows` (n,) of padded maps of B images.
        """
        _, S, M, D = out.shape
        total = out if out.dtype == torch.float32 else torch.zeros_like(out, dtype=torch.float32)
        table = total.view(-1, D)
        head, pixel = rows % M, rows.div(M, rounding_mode="floor")
        image, pixel = pixel.div(self.pixels, rounding_mode="floor"), pixel % self.pixels
        for corner, token in zip(corners, self.tokens[:, pixel], strict=True):
            inside = (token >= 0).nonzero().view(-1)
            target = ((image * S + token) * M + head).index_select(0, inside)
            table.index_add_(0, target, corner.index_select(0, inside))  # no target twice
        if total is not out:
            out.copy_(total)


@functools.lru_cache(maxsize=64)
def rows_of(shapes: tuple[tuple[int, int], ...], M: int, P: int) -> Rows:
    """The layout of maps of `shapes` for M heads that sample P points of each."""
    levels: list[Level] = []
    token, block = 0, 1
    for height, width in shapes:
        levels.append(Level(height, width, token, block))
        token += height * width
        block += (height + 4) * (width + 2)

    def spread(numbers: Sequence[int]) -> Tensor:
        """One number for each level to one for each sample."""
        return torch.tensor(numbers, dtype=torch.int32, device="cpu")[:, None].expand(M, len(shapes), P)

    tokens = torch.full((4, block + 1), -1, device="cpu")
    for level in levels:
        own = level.tokens(torch.arange(token, device="cpu")[None])
        for corner, (down, across) in enumerate(CORNERS):
            level.inside(tokens[corner, None], down, across).copy_(own)
    first = M * spread([level.block + 2 * (level.width + 2) + 1 for level in levels])
    return Rows(
        tuple(levels),
        block + 1,
        torch.stack([spread([w for _, w in shapes]), spread([h for h, _ in shapes])]).reshape(2, 1, -1).float(),
        (first + torch.arange(M, dtype=torch.int32, device="cpu")[:, None, None]).reshape(-1),
        (M * spread([w + 2 for _, w in shapes])).reshape(-1),
        tokens,
    )

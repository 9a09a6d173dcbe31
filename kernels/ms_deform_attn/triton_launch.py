"""How the kernels are launched: block sizes from a rule and a table, the grid, what all launches share.

Nothing is tuned in a call: while a CUDA graph is captured, or gradients accumulate, it would be wrong. A script
that tunes puts each of `candidates` into `TABLE`, times it, and leaves the best there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn.tiles import tile_count

Shapes = Sequence[tuple[int, int]]

MAX_LEVELS, MAX_POINTS, MAX_CHANNELS = 5, 8, 128
INTERPRETED_LANES = 3  # any number: so that the interpreter tests the order of programs, too


class Config(NamedTuple):
    """Queries per program, as pixels of a tile (height, width); warps per program; and a cap on registers."""

    tile: tuple[int, int]
    warps: int
    registers: int | None = None

    @property
    def queries(self) -> int:
        return self.tile[0] * self.tile[1]


class Key(NamedTuple):
    """What a configuration depends on: the kernel, bytes per element of value, and D and P as powers of 2."""

    kernel: str
    bytes: int
    channels: int
    points: int


def key_of(kernel: str, bytes: int, channels: int, points: int) -> Key:
    """The key of a call on values of so many bytes per element, with D channels per head and P points."""
    return Key(kernel, bytes, max(_power_of_2(channels), 4), _power_of_2(points))


_TILES = {8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16)}

TABLE = {
    # Left alone, the assembler spills into local memory to fit 7 programs on a multiprocessor; 6 fit without.
    Key("forward", 2, 32, 4): Config(_TILES[32], 4, registers=80),
}
"""Where something other than `default` is better."""


def default(key: Key) -> Config:
    """8 channels per thread: one 16-byte load per pixel where value has 16 bits, two where it has 32.

    With fewer, threads would be left without a vector of their own; more would cost registers.
    """
    return Config(_TILES[min(1024 // key.channels, 128)], 4)


def candidates(key: Key) -> list[Config]:
    """Configurations worth timing for `key`: those in which every thread loads one to four 16-byte vectors."""
    return [
        Config(tile, warps, registers)
        for queries, tile in _TILES.items()
        for warps in (1, 2, 4, 8)
        for registers in (None, 64, 80, 128)
        if 32 * warps * 16 <= queries * key.channels * key.bytes <= 4 * 32 * warps * 16
    ]


class Launch:
    """One call's arguments that do not depend on the kernel.

    Raises ValueError for more levels or points than the kernels unroll, and for more than 32-bit offsets reach.
    """

    def __init__(self, kernel: str, value: Tensor, shapes: Shapes, points: Tensor, reference: Tensor | None) -> None:
        B, S, M, D = value.shape
        Q, L, P = points.shape[1], *points.shape[3:5]
        if L > MAX_LEVELS or P > MAX_POINTS:
            raise ValueError(
                f"L={L} levels and P={P} points; the Triton kernels take up to {MAX_LEVELS} and {MAX_POINTS}, "
                "impl='reference' any number"
            )
        key = key_of(kernel, value.element_size(), D, P)
        config = TABLE.get(key) or default(key)
        if Q == S:  # queries are the pixels of the levels
            tile, blocks, lanes = config.tile, tile_count(shapes, config.tile), _multiprocessors(value.device)
        else:
            tile, blocks, lanes = (1, config.queries), -(-Q // config.queries), 1
        programs = blocks * M * B
        if max(S * M * D, Q * M * max(2 * L * P, D), programs + lanes) >= 2**31:
            raise ValueError(
                f"B={B}, S={S}, Q={Q}, M={M}, L={L}, P={P}, D={D} are too many for 32-bit offsets within an image or "
                "32-bit numbers of programs; expected smaller or fewer images"
            )
        self.grid = (lanes * -(-programs // lanes),)
        self.device = value.device
        strides = (0, 0, 0) if reference is None else reference.expand(B, Q, L, 2).stride()[:3]
        heights, widths = ([shape[axis] for shape in shapes] + [1] * (MAX_LEVELS - L) for axis in (0, 1))
        self.integers = (Q, S, blocks, programs, lanes, *strides, *heights, *widths)
        self.constants: dict[str, Any] = {
            "L": L,
            "P": P,
            "M": M,
            "D": D,
            "FUSED": reference is not None,
            "TILE_H": tile[0],
            "TILE_W": tile[1],
            "BLOCK_D": key.channels,
            "BLOCK_P": key.points,
            "BLOCK_S": _power_of_2(L * P),
            "num_warps": config.warps,
            "maxnreg": config.registers,
        }

    def __call__(self, kernel: Any, *tensors: Tensor, **constants: Any) -> None:
        """Runs `kernel` on the tensors' device, which need not be the current one."""
        with torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext():
            kernel[self.grid](*tensors, *self.integers, **constants, **self.constants)


def _power_of_2(number: int) -> int:
    return 1 << (number - 1).bit_length()


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_LANES
    return torch.cuda.get_device_properties(device).multi_processor_count

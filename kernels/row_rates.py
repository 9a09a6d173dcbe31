"""How fast a device gathers rows of a table and adds to them: what bounds deformable attention, with nothing around it.

The operator reads four rows of D channels for every sample, and its derivative reads them again and adds to four. These
kernels do that and little more, with the block sizes of `ms_deform_attn`, so that a time can be held against that of
its rows alone.
"""

# mypy: ignore-errors
# A kernel is not Python: its arguments are pointers, tiles and constants, for which there are no types.

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK, WARPS = 32, 4
"""Sums of one program, and its warps: eight channels per thread where a row has 32."""


@triton.jit
def gather_kernel(table, rows, output, n, COUNT, D: tl.constexpr, BLOCK: tl.constexpr):
    """output (n, D) float32: the sum of COUNT rows each."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, D)
    total = tl.zeros((BLOCK, D), tl.float32)
    for i in range(COUNT):
        row = tl.load(rows + i * n + number)
        total += tl.load(table + row[:, None] * D + channel[None, :]).to(tl.float32)
    tl.store(output + number[:, None] * D + channel[None, :], total)


@triton.jit
def add_kernel(table, rows, n, COUNT, D: tl.constexpr, BLOCK: tl.constexpr):
    """Adds one to COUNT rows (D,) of a float32 table for every one of n."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, D)
    ones = tl.full((BLOCK, D), 1.0, tl.float32)
    for i in range(COUNT):
        row = tl.load(rows + i * n + number)
        tl.atomic_add(table + row[:, None] * D + channel[None, :], ones, sem="relaxed")


def gather(table: Tensor, rows: Tensor) -> Tensor:
    """Sums (n, D) in float32 of the rows of `table` (R, D) that `rows` (count, n) int32 names.

    n is a multiple of `BLOCK`, D a power of 2.
    """
    programs = _programs(table, rows)
    count, n = rows.shape
    output = torch.empty(n, table.shape[1], device=table.device)
    gather_kernel[(programs,)](table, rows, output, n, count, D=table.shape[1], BLOCK=BLOCK, num_warps=WARPS)
    return output


def add(table: Tensor, rows: Tensor) -> None:
    """Add one to every row of `table` (R, D) float32 as often as `rows` (count, n) int32 names it."""
    programs = _programs(table, rows)
    count, n = rows.shape
    add_kernel[(programs,)](table, rows, n, count, D=table.shape[1], BLOCK=BLOCK, num_warps=WARPS)


def _programs(table: Tensor, rows: Tensor) -> int:
    width = table.shape[1]
    if rows.shape[1] % BLOCK or width & (width - 1) or rows.dtype != torch.int32:
        raise ValueError(
            f"rows {tuple(rows.shape)} in {rows.dtype} of width {width}; expected int32, a multiple of {BLOCK} of "
            "them, and a power of 2"
        )
    return rows.shape[1] // BLOCK

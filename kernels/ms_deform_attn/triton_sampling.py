"""Device functions that the forward and the backward kernel share: where a program works and where a sample lies.

Vocabulary of the kernels: B images, S tokens, M heads, D head dim, Q queries, L levels, P points. One program
serves one head of one image for BLOCK_Q queries. Offsets within one image fit 32 bits, which saves half of the
integer work; only the start of an image is a 64-bit offset.
"""

# mypy: ignore-errors
# A kernel is not Python: its arguments are pointers, tiles and constants, for which there are no types.

from __future__ import annotations

import triton
import triton.language as tl

NOWHERE = tl.constexpr(-(2**31))
"""The bits of -0.0 in float32."""


@triton.jit
def program_place(blocks, programs, lanes, M: tl.constexpr):
    """Which block of queries, head and image (as int64) this program serves, and whether it exists at all.

    Neighbouring programs of the launch run on different multiprocessors. With `lanes` of these, every one
    gets a contiguous range of blocks, so that what one block has read is still in the cache for the next.
    """
    program = tl.program_id(0)
    serial = (program % lanes) * tl.cdiv(programs, lanes) + program // lanes
    block = serial % blocks
    head = serial // blocks % M
    image = serial // blocks // M
    return block, head, image.to(tl.int64), serial < programs


@triton.jit
def block_queries(block, Q, heights, widths, L: tl.constexpr, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """The (TILE_H * TILE_W,) queries of a block and which of them exist; `tiles.py` has the same in plain Python.

    TILE_H = 1: a run of queries in the order they come in. Otherwise the queries are the pixels of the levels,
    and the block is a tile of one of them.
    """
    within = tl.arange(0, TILE_H * TILE_W)
    if TILE_H == 1:
        query = block * TILE_W + within
        exists = query < Q
    else:
        height, width, start, tile = heights[0], widths[0], 0, block
        next_start, next_tile = 0, 0
        for level in tl.static_range(L):
            here = block >= next_tile
            height = tl.where(here, heights[level], height)
            width = tl.where(here, widths[level], width)
            start = tl.where(here, next_start, start)
            tile = tl.where(here, block - next_tile, tile)
            next_start += heights[level] * widths[level]
            next_tile += tl.cdiv(heights[level], TILE_H) * tl.cdiv(widths[level], TILE_W)
        # Bands of 16 rows, walked column of tiles by column of tiles: a contiguous range of tiles is compact.
        ROWS: tl.constexpr = 16 // TILE_H
        area = ROWS * tl.cdiv(width, TILE_W)  # of a band, in tiles
        band = tile // area
        rows = tl.minimum(ROWS, tl.cdiv(height, TILE_H) - band * ROWS)
        tile -= band * area
        y = (band * ROWS + tile % rows) * TILE_H + within // TILE_W
        x = (tile // rows) * TILE_W + within % TILE_W
        query = start + y * width + x
        exists = (y < height) & (x < width)
    return query, exists


@triton.jit
def corners(x, y, score, height, width):
    """The top left one of the 2 x 2 pixels around (x, y), the fractions beyond it, and each pixel's share of score.

    Shares come as the bits of float32. A pixel outside the map has those of -0.0, which no pixel inside has: a
    share of zero reads its pixel, so that what is not a number there spreads as in the reference. A sample that
    is a pixel or further outside, or is not finite, has no pixel at all, and nothing that follows overflows.
    """
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    x, y = tl.where(inside, x, 0.0), tl.where(inside, y, 0.0)
    score = tl.where(inside, score, 0.0)
    floor_x, floor_y = tl.floor(x), tl.floor(y)
    left, top = floor_x.to(tl.int32), floor_y.to(tl.int32)
    right, down = x - floor_x, y - floor_y
    has_left, has_right = inside & (left >= 0), inside & (left < width - 1)
    has_top, has_bottom = top >= 0, top < height - 1
    upper, lower = score * (1 - down), score * down
    share00 = _share(upper * (1 - right), has_top & has_left)
    share01 = _share(upper * right, has_top & has_right)
    share10 = _share(lower * (1 - right), has_bottom & has_left)
    share11 = _share(lower * right, has_bottom & has_right)
    return top * width + left, right, down, score, share00, share01, share10, share11


@triton.jit
def _share(share, inside):
    return tl.where(inside, (share + 0.0).to(tl.int32, bitcast=True), NOWHERE)


@triton.jit
def is_inside(share):
    """Which shares are of a pixel inside the map."""
    return share != NOWHERE


@triton.jit
def as_float(share):
    """The number whose bits a share is."""
    return share.to(tl.float32, bitcast=True)


@triton.jit
def widened(tile):
    """A tile in float32. The bits of bfloat16 are the upper half of it: a shift costs less than a conversion."""
    if tile.dtype == tl.bfloat16:
        result = (tile.to(tl.int16, bitcast=True).to(tl.int32) << 16).to(tl.float32, bitcast=True)
    else:
        result = tile.to(tl.float32)
    return result


@triton.jit
def columns(tile, N: tl.constexpr, COUNT: tl.constexpr):
    """The COUNT columns (N,) of a tile (N, COUNT), COUNT being 1, 2, 4 or 8.

    This hands over what one thread has computed per sample to all that share the sample's channels.
    """
    if COUNT == 1:
        result = (tl.reshape(tile, (N,)),)
    elif COUNT == 2:
        result = tl.split(tile)
    else:
        even, odd = tl.split(tl.reshape(tile, (N, COUNT // 2, 2)))
        even, odd = columns(even, N, COUNT // 2), columns(odd, N, COUNT // 2)
        if COUNT == 4:
            result = even[0], odd[0], even[1], odd[1]
        else:
            result = even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]
    return result


@triton.jit
def from_columns(parts, COUNT: tl.constexpr):
    """The tile (N, COUNT) of COUNT columns (N,): `columns` undone."""
    if COUNT == 1:
        result = parts[0][:, None]
    elif COUNT == 2:
        result = tl.join(parts[0], parts[1])
    elif COUNT == 4:
        even, odd = from_columns((parts[0], parts[2]), 2), from_columns((parts[1], parts[3]), 2)
        result = tl.reshape(tl.join(even, odd), (even.shape[0], 4))
    else:
        even = from_columns((parts[0], parts[2], parts[4], parts[6]), 4)
        odd = from_columns((parts[1], parts[3], parts[5], parts[7]), 4)
        result = tl.reshape(tl.join(even, odd), (even.shape[0], 8))
    return result


@triton.jit
def sample_level(
    points,
    scores,
    origin,
    first,
    exists,
    height,
    width,
    largest,
    scale,
    P: tl.constexpr,
    BLOCK_P: tl.constexpr,
    FUSED: tl.constexpr,
):
    """Position (in pixels) and score of each query's P samples on one level, as tiles (N, BLOCK_P).

    `first` (N,) numbers each query's first sample. If FUSED, points are offsets in pixels from the place that
    `origin` (N,) points to, and the score is the softmax of the logits, given their largest and scale.
    """
    point = tl.arange(0, BLOCK_P)
    mask = exists[:, None] & (point < P)[None, :]
    sample = first[:, None] + point[None, :]
    pair = (2 * sample)[:, :, None] + tl.arange(0, 2)[None, None, :]
    # What does not exist lies outside: its atomics would all meet in one pixel.
    x, y = tl.split(tl.load(points + pair, mask=mask[:, :, None], other=float("-inf")).to(tl.float32))
    score = tl.load(scores + sample, mask=mask, other=float("-inf") if FUSED else 0.0).to(tl.float32)
    if FUSED:
        x += (tl.load(origin, mask=exists, other=0.0) * width - 0.5)[:, None]
        y += (tl.load(origin + 1, mask=exists, other=0.0) * height - 0.5)[:, None]
        score = tl.exp(score - largest[:, None]) * scale[:, None]
    else:
        x, y = x * width - 0.5, y * height - 0.5
    return x, y, score, sample, pair, mask


@triton.jit
def softmax_range(logits, row, exists, COUNT: tl.constexpr, PADDED: tl.constexpr):
    """The largest of each row's COUNT logits, and one over the sum of the exponentials of what is below it."""
    column = tl.arange(0, PADDED)
    mask = exists[:, None] & (column < COUNT)[None, :]
    tile = tl.load(logits + row[:, None] + column[None, :], mask=mask, other=float("-inf")).to(tl.float32)
    tile = tl.where(exists[:, None], tile, 0.0)
    largest = tl.max(tile, axis=1)
    return largest, 1 / tl.sum(tl.exp(tile - largest[:, None]), axis=1)

"""The forward kernel: gathers 16 bytes of channels per load, accumulates in float32, writes each output once."""

# mypy: ignore-errors
# A kernel is not Python: its arguments are pointers, tiles and constants, for which there are no types.

from __future__ import annotations

import triton
import triton.language as tl

from effbench.kernels.ms_deform_attn.triton_sampling import (
    as_float,
    block_queries,
    columns,
    corners,
    is_inside,
    program_place,
    sample_level,
    softmax_range,
    widened,
)

INTEGERS = ("Q", "S", "blocks", "programs", "lanes", "reference_image", "reference_query", "reference_level")
SIDES = tuple(f"{side}{level}" for side in "HW" for level in range(5))
"""Sizes of the levels stay runtime arguments without specialisation: a new image size compiles nothing."""


@triton.jit
def _weighted(pixel, share, some):
    """`share` (N,) times the channels at the pointers `pixel` (N, BLOCK_D), zero where these are outside the map."""
    return as_float(share)[:, None] * widened(tl.load(pixel, mask=is_inside(share)[:, None] & some, other=0.0))


@triton.jit(do_not_specialize=INTEGERS + SIDES)
def forward_kernel(
    value,
    points,
    scores,
    reference,
    output,
    Q,
    S,
    blocks,
    programs,
    lanes,
    reference_image,
    reference_query,
    reference_level,
    H0,
    H1,
    H2,
    H3,
    H4,
    W0,
    W1,
    W2,
    W3,
    W4,
    L: tl.constexpr,
    P: tl.constexpr,
    M: tl.constexpr,
    D: tl.constexpr,
    FUSED: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Writes output (B, Q, M, D).

    points (B, Q, M, L, P, 2) are locations in [0, 1], or if FUSED offsets in pixels from reference; scores
    (B, Q, M, L, P) are weights, or if FUSED logits.
    """
    N: tl.constexpr = TILE_H * TILE_W
    heights, widths = (H0, H1, H2, H3, H4), (W0, W1, W2, W3, W4)
    block, head, image, real = program_place(blocks, programs, lanes, M)
    if not real:
        return
    query, exists = block_queries(block, Q, heights, widths, L, TILE_H, TILE_W)
    row = query * M + head
    value += image * S * (M * D) + head * D
    points += image * Q * (M * L * P * 2)
    scores += image * Q * (M * L * P)
    output += image * Q * (M * D)
    channel = tl.arange(0, BLOCK_D)
    some = (channel < D)[None, :]
    largest, scale, origin = 0.0, 0.0, reference
    if FUSED:
        origin += image * reference_image + query * reference_query
        largest, scale = softmax_range(scores, row * (L * P), exists, L * P, BLOCK_S)

    result = tl.zeros((N, BLOCK_D), tl.float32)
    start = 0
    for level in tl.static_range(L):
        height, width = heights[level], widths[level]
        x, y, score, _, _, _ = sample_level(
            points,
            scores,
            origin + level * reference_level,
            row * (L * P) + level * P,
            exists,
            height,
            width,
            largest,
            scale,
            P,
            BLOCK_P,
            FUSED,
        )
        pixel, _, _, _, share00, share01, share10, share11 = corners(x, y, score, height, width)
        pixel = columns(start + pixel, N, BLOCK_P)
        share00, share01 = columns(share00, N, BLOCK_P), columns(share01, N, BLOCK_P)
        share10, share11 = columns(share10, N, BLOCK_P), columns(share11, N, BLOCK_P)
        for p in tl.static_range(P):
            here = (value + channel)[None, :] + (pixel[p].to(tl.int64) * (M * D))[:, None]
            below = here + width * (M * D)
            result += _weighted(here, share00[p], some)
            result += _weighted(here + M * D, share01[p], some)
            result += _weighted(below, share10[p], some)
            result += _weighted(below + M * D, share11[p], some)
        start += height * width
    here = output + (row * D)[:, None] + channel[None, :]
    tl.store(here, result.to(output.dtype.element_ty), mask=exists[:, None] & some)

"""The backward kernel: gathers again, adds to the value's gradient with vector atomics, stores the rest once.

Per sample, the dot products of the upstream gradient with the four pixels hold all that the gradients of
location and weight need. They are collected per query and level, and written in one piece.
"""

# mypy: ignore-errors
# A kernel is not Python: its arguments are pointers, tiles and constants, for which there are no types.

from __future__ import annotations

import triton
import triton.language as tl

from effbench.kernels.ms_deform_attn.triton_forward import INTEGERS, SIDES
from effbench.kernels.ms_deform_attn.triton_sampling import (
    as_float,
    block_queries,
    columns,
    corners,
    from_columns,
    is_inside,
    program_place,
    sample_level,
    softmax_range,
    widened,
)


@triton.jit
def _corner(value, grad_value, offset, upstream, share, some, SCATTER: tl.constexpr):
    """The dot product of the upstream gradient with one pixel, whose own gradient grows by `share` of it."""
    mask = is_inside(share)[:, None] & some
    pixel = widened(tl.load(value + offset[:, None], mask=mask, other=0.0))
    if SCATTER:
        tl.atomic_add(grad_value + offset[:, None], as_float(share)[:, None] * upstream, mask=mask, sem="relaxed")
    return tl.sum(pixel * upstream, axis=1)


@triton.jit(do_not_specialize=INTEGERS + SIDES)
def backward_kernel(
    grad,
    value,
    points,
    scores,
    reference,
    grad_value,
    grad_points,
    grad_scores,
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
    SCATTER: tl.constexpr,
    TILE_H: tl.constexpr,
    TILE_W: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Writes grad_points and grad_scores, and if SCATTER adds to grad_value (B, S, M, D), float32 zeros.

    grad is (B, Q, M, D); the other arguments are those of `forward_kernel`.
    """
    N: tl.constexpr = TILE_H * TILE_W
    heights, widths = (H0, H1, H2, H3, H4), (W0, W1, W2, W3, W4)
    block, head, image, real = program_place(blocks, programs, lanes, M)
    if not real:
        return
    query, exists = block_queries(block, Q, heights, widths, L, TILE_H, TILE_W)
    row = query * M + head
    grad += image * Q * (M * D)
    points += image * Q * (M * L * P * 2)
    grad_points += image * Q * (M * L * P * 2)
    scores += image * Q * (M * L * P)
    grad_scores += image * Q * (M * L * P)
    channel = tl.arange(0, BLOCK_D)
    some = (channel < D)[None, :]
    value_channel = (value + image * S * (M * D) + head * D + channel)[None, :]
    grad_channel = (grad_value + image * S * (M * D) + head * D + channel)[None, :]
    largest, scale, origin = 0.0, 0.0, reference
    if FUSED:
        origin += image * reference_image + query * reference_query
        largest, scale = softmax_range(scores, row * (L * P), exists, L * P, BLOCK_S)

    here = grad + (row * D)[:, None] + channel[None, :]
    upstream = tl.load(here, mask=exists[:, None] & some, other=0.0).to(tl.float32)
    nothing = tl.zeros((N,), tl.float32)
    kept, mean = (), 0.0
    start = 0
    for level in tl.static_range(L):
        height, width = heights[level], widths[level]
        x, y, score, sample, pair, mask = sample_level(
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
        pixel, right, down, inner_score, share00, share01, share10, share11 = corners(x, y, score, height, width)
        pixel = columns(start + pixel, N, BLOCK_P)
        share00, share01 = columns(share00, N, BLOCK_P), columns(share01, N, BLOCK_P)
        share10, share11 = columns(share10, N, BLOCK_P), columns(share11, N, BLOCK_P)
        dots00, dots01, dots10, dots11 = (), (), (), ()
        for p in tl.static_range(BLOCK_P):
            if p < P:
                here = pixel[p].to(tl.int64) * (M * D)
                below = here + width * (M * D)
                dots00 += (_corner(value_channel, grad_channel, here, upstream, share00[p], some, SCATTER),)
                dots01 += (_corner(value_channel, grad_channel, here + M * D, upstream, share01[p], some, SCATTER),)
                dots10 += (_corner(value_channel, grad_channel, below, upstream, share10[p], some, SCATTER),)
                dots11 += (_corner(value_channel, grad_channel, below + M * D, upstream, share11[p], some, SCATTER),)
            else:
                dots00 += (nothing,)
                dots01 += (nothing,)
                dots10 += (nothing,)
                dots11 += (nothing,)
        dot00, dot01 = from_columns(dots00, BLOCK_P), from_columns(dots01, BLOCK_P)
        dot10, dot11 = from_columns(dots10, BLOCK_P), from_columns(dots11, BLOCK_P)
        left, up = 1 - right, 1 - down
        along_x = inner_score * (up * (dot01 - dot00) + down * (dot11 - dot10))
        along_y = inner_score * (left * (dot10 - dot00) + right * (dot11 - dot01))
        sampled = up * (left * dot00 + right * dot01) + down * (left * dot10 + right * dot11)
        if FUSED:
            mean += score * sampled
            kept += ((score, sampled, sample, mask),)
        else:
            along_x, along_y = along_x * width, along_y * height
            tl.store(grad_scores + sample, sampled.to(grad_scores.dtype.element_ty), mask=mask)
        along = tl.join(along_x, along_y).to(grad_points.dtype.element_ty)
        tl.store(grad_points + pair, along, mask=mask[:, :, None])
        start += height * width

    if FUSED:
        mean = tl.sum(mean, axis=1)[:, None]
        for level in tl.static_range(L):
            score, sampled, sample, mask = kept[level]
            tl.store(grad_scores + sample, (score * (sampled - mean)).to(grad_scores.dtype.element_ty), mask=mask)

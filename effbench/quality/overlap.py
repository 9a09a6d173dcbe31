"""Pixels that the segments of two id maps share: the one pass over the pixels that every panoptic score needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]


def pair_areas(first: Ids, second: Ids) -> dict[tuple[int, int], int]:
    """(id in `first`, id in `second`) -> pixels with this pair, for two integer maps (H, W) of one shape.

    A map of real segments is a few thousand runs along its rows. To find where they end takes two comparisons per
    pixel, however large the ids are; all that follows is per run.
    """
    ends = _run_ends(first.ravel(), second.ravel(), first.shape[1])
    lengths = ends.copy()
    lengths[1:] -= ends[:-1]
    lengths[0] += 1
    left, right = first.ravel()[ends].astype(np.uint64), second.ravel()[ends].astype(np.uint64)
    right_bits, length_bits = int(right.max()).bit_length(), int(lengths.max()).bit_length()
    if int(left.max()).bit_length() + right_bits + length_bits > 64:  # negative ids end here, too
        return _far_apart(first.ravel()[ends], second.ravel()[ends], lengths)
    # Ids and length of a run in one integer: one sort then puts the runs of a pair side by side.
    left <<= np.uint64(right_bits)
    left |= right
    left <<= np.uint64(length_bits)
    left |= lengths.view(np.uint64)
    left.sort()
    pairs = left >> np.uint64(length_bits)
    starts = np.concatenate((_ZERO, np.flatnonzero(pairs[1:] != pairs[:-1]) + 1))
    left &= np.uint64((1 << length_bits) - 1)
    areas = np.add.reduceat(left, starts).tolist()
    low = (1 << right_bits) - 1
    return {(pair >> right_bits, pair & low): area for pair, area in zip(pairs[starts].tolist(), areas, strict=True)}


_ZERO = np.zeros(1, dtype=np.int64)


def _run_ends(first: Ids, second: Ids, width: int) -> npt.NDArray[np.int64]:
    """Flat index of the last pixel of every run; rows end runs, so that no length outgrows a row."""
    end = np.empty(first.size, dtype=np.bool_)
    np.not_equal(first[1:], first[:-1], out=end[:-1])
    end[:-1] |= second[1:] != second[:-1]
    end[width - 1 :: width] = True
    return np.flatnonzero(end)


def _far_apart(left: Ids, right: Ids, lengths: Ids) -> dict[tuple[int, int], int]:
    """The same for ids that do not fit side by side into 64 bits: each map's ids are numbered first."""
    left_ids, row = np.unique(left, return_inverse=True)
    right_ids, column = np.unique(right, return_inverse=True)
    pairs, pair = np.unique(row * len(right_ids) + column, return_inverse=True)
    # The weights make float64 sums, exact far beyond any number of pixels.
    areas = np.bincount(pair, weights=lengths).astype(np.int64).tolist()
    ids = zip(left_ids[pairs // len(right_ids)].tolist(), right_ids[pairs % len(right_ids)].tolist(), strict=True)
    return dict(zip(ids, areas, strict=True))

"""Shared pixels of two maps against plain counting, whatever the ids."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from effbench.quality.overlap import pair_areas

Ids = npt.NDArray[np.int64]
SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


def counted(first: Ids, second: Ids) -> dict[tuple[int, int], int]:
    return dict(Counter(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)))


@given(st.data())
def test_equals_plain_counting(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    low, high = data.draw(st.sampled_from([(0, 2), (0, 2**24 - 1), (0, 2**40), (-3, 3), (2**62, 2**63 - 1)]))
    # few different ids, so that there are runs and pairs that come again
    ids = st.sampled_from(data.draw(st.lists(st.integers(low, high), min_size=1, max_size=4)))
    first, second = (data.draw(arrays(np.int64, shape, elements=ids)) for _ in range(2))
    assert pair_areas(first, second) == counted(first, second)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type_beside_any_other(dtype: type[np.integer]) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, (30, 40)).astype(dtype), rng.integers(0, 2**24, (1, 40)).repeat(30, axis=0)
    assert pair_areas(first, second) == counted(first.astype(np.int64), second)


def test_maps_that_are_no_contiguous_block_of_memory() -> None:
    whole = np.arange(48).reshape(6, 8) // 5
    first, second = whole[::2, 1:7], whole.T[:6, :6][::2]
    assert pair_areas(first, second) == counted(first, second)


def test_one_segment_of_more_pixels_than_sixteen_bits_count() -> None:
    first = np.full((300, 400), 2**24 - 1)
    assert pair_areas(first, first) == {(2**24 - 1, 2**24 - 1): 120_000}
    assert pair_areas(first.reshape(1, -1), first.reshape(1, -1)) == {(2**24 - 1, 2**24 - 1): 120_000}

"""The census of COCO val2017's image sizes."""

from __future__ import annotations

from collections import Counter

import pytest

from effbench.data.sizes import coco_val2017_first, coco_val2017_sizes
from effbench.errors import InputError


def test_census_covers_all_images_within_the_limits_of_coco() -> None:
    sizes = coco_val2017_sizes()
    assert sum(sizes.values()) == 5000 and all(count > 0 for count in sizes.values())
    assert max(max(size) for size in sizes) == 640
    assert max(sizes, key=sizes.__getitem__) == (480, 640)


def test_first_images_are_part_of_the_census() -> None:
    first, sizes = coco_val2017_first(100), coco_val2017_sizes()
    assert len(first) == 100 and first[:30] == coco_val2017_first(30)
    assert first[:3] == [(426, 640), (640, 586), (483, 640)]
    assert all(count <= sizes[size] for size, count in Counter(first).items())


@pytest.mark.parametrize("n", [0, -1, 101])
def test_more_than_is_known_is_refused(n: int) -> None:
    with pytest.raises(InputError, match=f"first {n} images.*1 to 100"):
        coco_val2017_first(n)

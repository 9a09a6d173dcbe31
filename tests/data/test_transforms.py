"""Sizes, crops, flips and batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from effbench.data.coco_panoptic import CocoPanoptic, Sample, Segment
from effbench.data.transforms import collate, pad_to, random_crop, random_flip, resize_shortest
from effbench.errors import InputError


@pytest.fixture
def sample() -> Sample:
    """8 x 10 image whose red channel is the column; segment 5 in the left half, 6 in the last column."""
    image = torch.arange(10, dtype=torch.uint8).expand(3, 8, 10).contiguous()
    id_map = torch.zeros(8, 10, dtype=torch.int32)
    id_map[:, :5] = 5
    id_map[:, 9] = 6
    segments = (Segment(5, 2, True, False, 40), Segment(6, 0, False, False, 8))
    return Sample(image, id_map, segments, 1, "1.jpg", 1)


@pytest.mark.parametrize(
    ("hw", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((426, 640), (800, 1202)),
        ((375, 500), (800, 1067)),
        ((333, 640), (694, 1333)),  # the longer side decides
        ((640, 233), (1333, 485)),
        ((500, 500), (800, 800)),
        ((800, 1333), (800, 1333)),
    ],
)
def test_resize_shortest_on_sizes_of_coco(hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resize_shortest(hw) == expected


def test_resize_shortest_with_other_limits() -> None:
    assert resize_shortest((100, 150), short=50, max_size=200) == (50, 75)
    assert resize_shortest((1024, 2048), short=1024, max_size=2048) == (1024, 2048)


@pytest.mark.parametrize(
    ("hw", "multiple", "expected"),
    [((800, 1067), 32, (800, 1088)), ((1, 32), 32, (32, 32)), ((65, 64), 64, (128, 64))],
)
def test_pad_to(hw: tuple[int, int], multiple: int, expected: tuple[int, int]) -> None:
    assert pad_to(hw, multiple) == expected


def test_flip_mirrors_image_and_ids_together(sample: Sample) -> None:
    generator = torch.Generator().manual_seed(0)
    results = [random_flip(sample, generator) for _ in range(40)]
    flipped = [result for result in results if result.image[0, 0, 0] == 9]
    assert 10 <= len(flipped) <= 30
    assert torch.equal(flipped[0].id_map, sample.id_map.flip(-1))
    kept = next(result for result in results if result.image[0, 0, 0] == 0)
    assert torch.equal(kept.id_map, sample.id_map)


def test_crop_keeps_image_and_segments_together(sample: Sample) -> None:
    generator = torch.Generator().manual_seed(0)
    lefts = set()
    for _ in range(50):
        crop = random_crop(sample, 4, generator)
        assert crop.image.shape == (3, 4, 4) and crop.id_map.shape == (4, 4)
        left = int(crop.image[0, 0, 0])
        lefts.add(left)
        assert torch.equal(crop.id_map[0], sample.id_map[0, left : left + 4])
        assert {s.id: s.area for s in crop.segments} == {
            id_: int((crop.id_map == id_).sum()) for id_ in (5, 6) if (crop.id_map == id_).any()
        }
    assert lefts == set(range(7))


def test_crop_pads_small_images_with_void(sample: Sample) -> None:
    crop = random_crop(sample, (12, 10))
    assert crop.image.shape == (3, 12, 10)
    assert torch.equal(crop.id_map[:8], sample.id_map) and not crop.id_map[8:].any()
    assert crop.segments == sample.segments


def test_crop_is_repeatable(sample: Sample) -> None:
    first, second = (random_crop(sample, 3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first.image, second.image)


def test_collate_leaves_out_crowds_and_keeps_empty_images(coco_root: Path) -> None:
    batch = collate(list(CocoPanoptic(coco_root)))
    assert batch.images.shape == (2, 3, 4, 6) and batch.images.dtype == torch.float32
    assert batch.images.max() <= 1 and batch.images[1].mean() == pytest.approx(90 / 255, abs=0.01)
    empty, target = batch.targets
    assert empty.labels.shape == (0,) and empty.masks.shape == (0, 4, 6)
    assert target.labels.tolist() == [1] and target.labels.dtype == torch.int64
    assert target.masks.dtype == torch.bool and target.masks.shape == (1, 4, 6)
    assert target.masks[0, 3].all() and target.masks.sum() == 6


def test_batch_moves_as_a_whole(sample: Sample) -> None:
    batch = collate([sample]).to("meta")
    assert batch.images.is_meta and batch.targets[0].labels.is_meta and batch.targets[0].masks.is_meta


def test_collate_refuses_mixed_sizes(sample: Sample) -> None:
    with pytest.raises(InputError, match=r"\(4, 4\), \(8, 10\).*random_crop"):
        collate([sample, random_crop(sample, 4)])

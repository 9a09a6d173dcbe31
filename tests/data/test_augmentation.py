"""The training augmentations: image and ids move together, within the ranges of the release."""

from __future__ import annotations

import colorsys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from effbench.data import augmentation as module
from effbench.data.augmentation import AUGMENTATIONS, GREY, augmentation, cityscapes, large_scale_jitter
from effbench.data.coco_panoptic import Sample, Segment
from effbench.errors import InputError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def striped(height: int = 32, width: int = 64) -> Sample:
    """No void: segment 1 and, from the middle column on, segment 70000, whose grey is 200 instead of 50."""
    id_map = torch.ones(height, width, dtype=torch.int32)
    id_map[:, width // 2 :] = 70000
    image = torch.where(id_map == 1, 50, 200).to(torch.uint8).expand(3, -1, -1).contiguous()
    area = height * width // 2
    segments = (Segment(1, 0, False, False, area), Segment(70000, 4, True, False, area))
    return Sample(image, id_map, segments, 9, "9.jpg", 9)


@pytest.mark.parametrize("name", ["crop", "large_scale_jitter"])
@pytest.mark.parametrize("size", [16, 48])
def test_every_sample_gets_the_crops_shape(name: str, size: int) -> None:
    sample = augmentation(name)(striped(), size, seeded(0))
    assert sample.image.shape == (3, size, size) and sample.id_map.shape == (size, size)
    sample = augmentation("cityscapes")(striped(), size, seeded(0))
    assert sample.image.shape == (3, size, 2 * size) and sample.id_map.shape == (size, 2 * size)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_decides_and_nothing_else(name: str) -> None:
    state = torch.random.get_rng_state()
    original = striped()
    results = [augmentation(name)(original, 16, seeded(seed)) for seed in (3, 3, 4, 5, 6, 7)]
    assert torch.equal(results[0].image, results[1].image) and torch.equal(results[0].id_map, results[1].id_map)
    assert any(not torch.equal(results[0].image, other.image) for other in results[2:])
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left alone"
    assert torch.equal(original.image, striped().image) and torch.equal(original.id_map, striped().id_map)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_types_names_and_areas_are_right(name: str) -> None:
    for seed in range(20):
        sample = augmentation(name)(striped(), 16, seeded(seed))
        assert sample.image.dtype == torch.uint8 and sample.id_map.dtype == torch.int32
        assert (sample.image_id, sample.file_name) == (9, "9.jpg")
        assert {s.id: s.area for s in sample.segments} == {
            i: count for i, count in Counter(sample.id_map.flatten().tolist()).items() if i
        }
        assert all(s.category == {1: 0, 70000: 4}[s.id] for s in sample.segments)


@pytest.mark.parametrize("name", ["crop", "large_scale_jitter"])
def test_image_and_ids_move_together(name: str) -> None:
    seen = set()
    for seed in range(40):
        sample = augmentation(name)(striped(), 24, seeded(seed))
        grey, ids = sample.image[0].int(), sample.id_map
        inner = torch.ones_like(ids, dtype=torch.bool)  # where the neighbours to the left and right are the same
        inner[:, 1:] &= ids[:, 1:] == ids[:, :-1]
        inner[:, :-1] &= ids[:, 1:] == ids[:, :-1]
        for i, value in ((1, 50), (70000, 200)):
            assert (grey[inner & (ids == i)] - value).abs().le(1).all()
        seen |= {tuple(pair) for row in ids[:1].tolist() for pair in pairwise(row) if 0 not in pair}
    assert {(1, 70000), (70000, 1)} <= seen, "flipped, and not"


# --- large-scale jitter ----------------------------------------------------------------------------------------------


def test_jitter_fits_the_image_into_a_tenth_to_twice_the_target() -> None:
    heights = []
    for seed in range(300):
        sample = large_scale_jitter(striped(32, 64), 64, seeded(seed))
        covered = sample.id_map > 0
        height, width = int(covered.any(1).sum()), int(covered.any(0).sum())
        assert covered.sum() == height * width and covered[:height, :width].all(), "padded below and to the right"
        assert abs(width - min(64, 2 * height)) <= 1, "the aspect ratio stays"
        assert (sample.image[:, ~covered] == GREY).all()
        heights.append(height)
    assert min(heights) in (3, 4), "a tenth of 32"
    assert max(heights) == 64, "twice 32"
    assert np.mean([height < 32 for height in heights]) == pytest.approx(0.9 / 1.9, abs=0.1), "uniform scales"


def test_jitter_resizes_as_pil_does(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.75, 0.0])
    monkeypatch.setattr(module, "_uniform", lambda low, high, generator: next(draws))
    rng = np.random.default_rng(0)
    image, ids = rng.integers(0, 256, (30, 40, 3), np.uint8), rng.integers(1, 2**24, (30, 40)).astype(np.int32)
    segments = tuple(Segment(int(i), 0, True, False, 1) for i in np.unique(ids))
    original = Sample(torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(ids), segments, 1, "1.jpg", 1)
    flip = next(seed for seed in range(9) if torch.rand((), generator=seeded(seed)) < 0.5)  # one that keeps left left
    sample = large_scale_jitter(original, 80, seeded(flip))
    height, width = 45, 60  # 40 fits into 0.75 x 80
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    assert np.array_equal(sample.image[:, :height, :width].permute(1, 2, 0).numpy(), expected)
    expected = np.asarray(Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST))
    assert np.array_equal(sample.id_map[:height, :width].numpy(), expected), "24 bits survive"


def test_jitter_places_the_crop_along_the_diagonal() -> None:
    ramp = torch.arange(64, dtype=torch.uint8) * 4
    image = torch.stack([ramp[:, None].expand(64, 64), ramp[None].expand(64, 64), ramp[None].expand(64, 64)])
    segments = (Segment(1, 0, False, False, 4096),)
    original = Sample(image, torch.ones(64, 64, dtype=torch.int32), segments, 1, "1.jpg", 1)
    tops = set()
    for seed in range(60):
        sample = large_scale_jitter(original, 64, seeded(seed))
        row, column = sample.image[0].int(), sample.image[1].int()
        if (sample.id_map > 0).all() and column[0, 0] < column[0, -1]:  # enlarged, not flipped
            assert abs(row[0, 0] - column[0, 0]) <= 1
            tops.add(int(row[0, 0]))
    assert len(tops) > 5


def test_an_image_one_pixel_high_survives_every_scale() -> None:
    for name in AUGMENTATIONS:
        for seed in range(20):
            sample = augmentation(name)(striped(1, 64), 16, seeded(seed))
            assert sample.id_map.shape[0] == 16 and len(sample.segments) >= 1


def test_an_image_without_segments_stays_one() -> None:
    empty = Sample(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.int32), (), 1, "1.jpg", 1)
    for name in AUGMENTATIONS:
        sample = augmentation(name)(empty, 16, seeded(0))
        assert sample.segments == () and not sample.id_map.any()


# --- Cityscapes ------------------------------------------------------------------------------------------------------


def test_cityscapes_shortest_sides_are_those_of_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[int, int]] = set()

    def record(hw: tuple[int, int], short: int, longest: int) -> tuple[int, int]:
        asked.add((short, longest))
        return 8, 16

    monkeypatch.setattr(module, "resize_shortest", record)
    monkeypatch.setattr(module, "random_crop", lambda sample, size, generator: sample)
    for seed in range(150):
        cityscapes(striped(), 512, seeded(seed))
    sides = [512, 614, 716, 819, 921, 1024, 1126, 1228, 1331, 1433, 1536, 1638, 1740, 1843, 1945, 2048]
    assert sorted(asked) == [(side, 4096) for side in sides]


def test_an_image_twice_as_wide_as_high_is_never_padded() -> None:
    assert all((cityscapes(striped(), 16, seeded(seed)).id_map > 0).all() for seed in range(60))


def test_half_of_the_images_are_flipped() -> None:
    firsts = [int(cityscapes(striped(16, 32), 16, seeded(seed)).id_map[0, 0]) for seed in range(200)]
    assert 60 < firsts.count(1) < 140


# --- colours ---------------------------------------------------------------------------------------------------------


def test_each_change_of_colour_happens_to_every_other_image(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[tuple[float, float]] = Counter()

    def record(low: float, high: float, generator: torch.Generator) -> float:
        drawn[low, high] += 1
        return high

    monkeypatch.setattr(module, "_uniform", record)
    image = torch.randint(0, 256, (3, 2, 2), dtype=torch.uint8)
    generator = seeded(0)
    results = {module.ssd_color_jitter(image, generator).numpy().tobytes() for _ in range(400)}
    assert drawn.keys() == {(-32, 32), (0.5, 1.5), (-0.1, 0.1)}
    assert 160 < drawn[-32, 32] < 240 and 160 < drawn[-0.1, 0.1] < 240
    assert 320 < drawn[0.5, 1.5] < 480, "contrast and saturation"
    assert len(results) > 16, "all combinations, some in both orders"


@pytest.mark.parametrize(
    ("change", "pixel", "amount", "expected"),
    [
        ("_brighten", (10, 100, 250), 20.0, (30, 120, 255)),
        ("_brighten", (10, 100, 250), -20.0, (0, 80, 230)),
        ("_scale", (10, 100, 250), 1.5, (15, 150, 255)),
        ("_scale", (10, 100, 250), 0.5, (5, 50, 125)),
        ("_saturate", (100, 100, 100), 1.5, (100, 100, 100)),
        ("_saturate", (0, 100, 200), 1.5, (0, 100, 200)),
        ("_saturate", (100, 150, 200), 0.5, (150, 175, 200)),
    ],
)
def test_what_a_change_does(change: str, pixel: tuple[int, ...], amount: float, expected: tuple[int, ...]) -> None:
    image = torch.tensor(pixel, dtype=torch.uint8)[:, None, None]
    assert tuple(getattr(module, change)(image, amount).flatten().tolist()) == expected


def test_saturation_is_that_of_hsv() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    for factor in (0.5, 0.9, 1.2, 1.5):
        ours = module._saturate(image, factor).permute(1, 2, 0).reshape(-1, 3).tolist()
        for pixel, changed in zip(image.permute(1, 2, 0).reshape(-1, 3).tolist(), ours, strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(x / 255 for x in pixel))
            expected = colorsys.hsv_to_rgb(hue, min(1, factor * saturation), value)
            assert changed == pytest.approx([255 * x for x in expected], abs=1.01)


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match="'mosaic'; expected one of crop, large_scale_jitter, cityscapes"):
        augmentation("mosaic")

"""Each part asks for what it says it asks for, and gives nothing else away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.ndimage import binary_dilation, distance_transform_edt, label

from effbench.data.coco_panoptic import Segment
from effbench.data.embedded import generate
from effbench.data.embedded_categories import CATEGORIES, DARK, LIGHT
from effbench.data.embedded_recipe import PARTS
from effbench.data.embedded_scene import IdMap, Image

SIZE = 128
DIAMONDS = {CATEGORIES.index_of(thing.id) for thing in (LIGHT, DARK)}
Scene = tuple[Image, IdMap, list[Segment]]


def scenes(part: str, count: int) -> Iterator[Scene]:
    return (generate(part, 77, index, SIZE) for index in range(count))


def find_beacon(id_map: IdMap) -> tuple[int, int]:
    """Row and column of the beacon's middle: nothing else that is void is as thick, since slivers alone are."""
    depth = distance_transform_edt(np.pad(id_map == 0, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column)


def is_light(image: Image, id_map: IdMap) -> bool:
    return bool(image[find_beacon(id_map)].mean() > 128)


def near_features(image: Image, id_map: IdMap, segments: list[Segment], segment: Segment) -> list[float]:
    """All that the thing, what is around it and the make-up of the image could tell."""
    mask = id_map == segment.id
    around = binary_dilation(mask, iterations=12) & ~mask
    y, x = np.nonzero(mask)
    counts = [sum(s.category == index for s in segments) for index in range(len(CATEGORIES)) if index not in DIAMONDS]
    return [
        *(y.mean(), x.mean(), np.ptp(y), np.ptp(x), segment.area),
        *image[mask].mean(0),
        *image[mask].std(0),
        *image[around].mean(0),
        *image[around].std(0),
        *(id_map[around] == 0).mean(keepdims=True),
        *(segments.index(segment), len(segments), sum(s.isthing for s in segments)),
        *counts,
        *image.mean((0, 1)),
    ]


def accuracy_of_a_linear_guess(features: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> float:
    """Share of the second half told right by a ridge regression (to the class as +1 and -1) on the first half."""
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    features = np.c_[features, np.ones(len(features))]
    half = len(features) // 2
    known, target = features[:half], np.where(truth[:half], 1.0, -1.0)
    weights = np.linalg.solve(known.T @ known + 10 * np.eye(known.shape[1]), known.T @ target)
    return float(((features[half:] @ weights > 0) == truth[half:]).mean())


def test_context_is_told_by_the_beacon_and_by_nothing_near() -> None:
    features, truth = [], []
    for image, id_map, segments in scenes("context", 700):
        light = is_light(image, id_map)
        diamonds = [s for s in segments if s.category in DIAMONDS]
        assert {CATEGORIES[s.category].id for s in diamonds} == {LIGHT.id if light else DARK.id}
        features.append(near_features(image, id_map, segments, diamonds[0]))
        truth.append(light)
    assert np.mean(truth) == pytest.approx(0.5, abs=0.05)
    rows, told = np.array(features), np.array(truth)
    assert accuracy_of_a_linear_guess(rows, told) == pytest.approx(0.5, abs=0.07)
    assert accuracy_of_a_linear_guess(np.c_[rows, told], told) > 0.95  # the guess would find a cue


def test_context_scenes_with_the_other_beacon_differ_in_the_beacon_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(scenes("context", 30))
    recipe = PARTS["context"]
    assert recipe.context is not None
    other = replace(recipe.context, beacons=recipe.context.beacons[::-1])
    monkeypatch.setitem(PARTS, "context", replace(recipe, context=other))
    for (image, id_map, segments), (image2, id_map2, segments2) in zip(before, scenes("context", 30), strict=True):
        assert np.array_equal(id_map, id_map2)
        row, column = find_beacon(id_map)
        changed = np.argwhere((image != image2).any(2))
        assert len(changed) > 50 and np.hypot(*(changed - (row, column)).T).max() < 10
        assert abs(image.mean() - image2.mean()) < 1
        for one, two in zip(segments, segments2, strict=True):
            swapped = {one.category, two.category} == DIAMONDS
            assert swapped if one.category in DIAMONDS else one == two
            assert (one.id, one.area) == (two.id, two.area)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_beacon_is_void_and_far_from_what_it_tells(size: int) -> None:
    recipe = PARTS["context"].context
    assert recipe is not None and recipe.gap == 0.25
    for index in range(30):
        _, id_map, segments = generate("context", 78, index, size)
        row, column = find_beacon(id_map)
        diamonds = [s.id for s in segments if s.category in DIAMONDS]
        assert recipe.things_per_image[0] <= len(diamonds) <= recipe.things_per_image[1]
        pixels = np.argwhere(np.isin(id_map, diamonds))
        radius = min(recipe.beacon_diameter) / 2 * size / SIZE
        assert np.hypot(*(pixels - (row, column)).T).min() >= recipe.gap * size + radius - 1.5


def test_twins_touch_and_differ_in_nothing_but_their_ids() -> None:
    things_in_group: set[int] = set()
    for image, id_map, segments in scenes("twins", 60):
        things = [s for s in segments if s.isthing]
        assert len({s.id for s in things}) == len(things) >= 2
        masks = {s.id: id_map == s.id for s in things}
        for one in things:
            beside = binary_dilation(masks[one.id]) & ~masks[one.id]
            twins = [s for s in things if s.category == one.category and (id_map[beside] == s.id).sum() >= 3]
            assert twins, "a thing stands alone"
            colour = np.median(image[masks[one.id]], axis=0)
            assert any(abs(np.median(image[masks[s.id]], axis=0) - colour).max() < 8 for s in twins)
        for category in {s.category for s in things}:
            blobs, _ = label(np.isin(id_map, [s.id for s in things if s.category == category]))
            things_in_group |= {len(set(id_map[blobs == blob])) for blob in np.unique(blobs[blobs > 0])}
    assert {2, 3} <= things_in_group


def test_a_darker_seam_parts_twins() -> None:
    checked = 0
    for image, id_map, segments in scenes("twins", 40):
        things = [s for s in segments if s.isthing]
        for front, back in pairwise(things):
            mask = id_map == back.id
            seam = mask & binary_dilation(id_map == front.id)
            same = np.median(image[id_map == front.id], axis=0) - np.median(image[mask], axis=0)
            if front.category != back.category or abs(same).max() >= 8 or seam.sum() < 3:
                continue
            inside = mask & ~binary_dilation(id_map == front.id, iterations=3)
            assert image[seam].mean() < 0.8 * image[inside].mean()
            checked += 1
    assert checked > 40


def stroke_width(mask: npt.NDArray[np.bool_]) -> float:
    """Width in pixels of a line that the mask is all made of: a line w wide lies w/4 + 1/2 deep on average."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return float(4 * depth[mask].mean() - 2)


def test_thin_things_are_as_thin_as_stated() -> None:
    recipe = PARTS["thin"]
    assert recipe.stroke is not None
    widths = {part: measured_widths(part) for part in ("base", "thin")}
    low, high = recipe.stroke
    assert low - 0.2 <= np.median(widths["thin"]) <= high
    assert np.quantile(widths["thin"], 0.95) <= high + 1  # corners of a triangle fill
    assert np.median(widths["base"]) > 2 * high


def measured_widths(part: str) -> list[float]:
    return [stroke_width(id_map == s.id) for _, id_map, segments in scenes(part, 60) for s in segments if s.isthing]

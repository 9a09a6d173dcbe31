"""The panoptic quality of one image of 640 x 480 pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from effbench.quality import PanopticMap, SegmentInfo, image_stats

pytestmark = pytest.mark.benchmark

SEGMENTS, CATEGORIES = 15, 5


def voronoi(points: Any) -> PanopticMap:
    """480 x 640 pixels, each of the segment whose point is nearest."""
    y, x = np.mgrid[:480, :640]
    ids = 1 + np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0)
    return PanopticMap(ids.astype(np.int32), [SegmentInfo(i + 1, 1 + i % CATEGORIES) for i in range(len(points))])


def test_one_image(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((SEGMENTS, 2)) * [480, 640]
    pair = voronoi(points), voronoi(points + rng.normal(0, 8, points.shape))
    stats = benchmark.pedantic(image_stats, pair, rounds=101, warmup_rounds=2)
    assert sum(counts.tp for counts in stats.values()) > SEGMENTS // 2

"""The bootstrap agrees with the plain metric where it must, and is as wide as the images differ."""

from __future__ import annotations

import numpy as np
import pytest

from effbench.quality import CategoryStats, ImageStats, accumulate, summarise
from effbench.quality.bootstrap import bootstrap_pq, interval


def images(count: int) -> list[ImageStats]:
    rng = np.random.default_rng(3)
    return [
        ImageStats({c: CategoryStats(0.8 * tp, int(tp), int(fp), int(fn)) for c, (tp, fp, fn) in enumerate(draw)})
        for draw in rng.integers(0, 4, (count, 3, 3))
    ]


def test_identical_images_have_no_spread() -> None:
    stats = [images(1)[0]] * 20
    expected = summarise(accumulate(stats), {0, 1}, {2})["all"].pq
    np.testing.assert_allclose(bootstrap_pq(stats, {0, 1, 2}, 50), expected)


def test_interval_holds_the_metric_and_shrinks_with_more_images() -> None:
    few, many = images(30), images(480)
    widths = []
    for stats in (few, many):
        low, high = interval(bootstrap_pq(stats, {0, 1, 2}))
        assert low < summarise(accumulate(stats), {0, 1}, {2})["all"].pq < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)  # as the root of the number of images


def test_only_the_categories_asked_for_count() -> None:
    stats = [ImageStats({0: CategoryStats(1.0, 1, 0, 0), 1: CategoryStats(0.0, 0, 1, 1)})] * 3
    assert bootstrap_pq(stats, {0}, 10) == pytest.approx(100)
    assert bootstrap_pq(stats, {0, 1}, 10) == pytest.approx(50)


def test_draws_are_paired_between_systems() -> None:
    stats = images(40)
    np.testing.assert_array_equal(bootstrap_pq(stats, {0, 1, 2}, seed=5), bootstrap_pq(stats, {0, 1, 2}, seed=5))

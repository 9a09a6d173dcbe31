"""The bootstrap agrees with the plain metric where it must, and is as wide as the images differ."""

from __future__ import annotations

import numpy as np
import pytest

from effbench.errors import InputError
from effbench.quality import CategoryStats, ImageStats, accumulate, summarise
from effbench.quality.bootstrap import bootstrap_pq, interval, pq_difference


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


def systems(count: int) -> tuple[dict[int, ImageStats], dict[int, ImageStats]]:
    """Two systems; the second misses one thing more in every image."""
    before = dict(enumerate(images(count)))
    one_more = CategoryStats(0.0, 0, 0, 1)
    return before, {i: ImageStats({**stats, 0: stats[0] + one_more}) for i, stats in before.items()}


def test_a_difference_is_that_of_the_plain_metric_with_a_paired_interval_around_it() -> None:
    before, after = systems(60)
    after = dict(reversed(after.items()))  # images are found by name, not by place
    scores = [summarise(accumulate(stats.values()), {0, 1}, {2}) for stats in (before, after)]
    found = pq_difference(before, after, {0, 1}, {2}, seed=3)
    assert list(found) == ["all", "things", "stuff"]
    for name, (difference, low, high, categories) in found.items():
        assert difference == pytest.approx(scores[1][name].pq - scores[0][name].pq)
        assert low <= difference <= high
        assert categories == {"all": 3, "things": 2, "stuff": 1}[name]
    assert found["things"].high < 0, "every image is worse, so no draw is better"
    assert found["stuff"] == (0, 0, 0, 1), "what did not change has no interval"
    draws = [bootstrap_pq([s[i] for i in before], {0, 1, 2}, seed=3) for s in (before, after)]
    assert found["all"][1:3] == pytest.approx(interval(draws[1] - draws[0]))


def test_pairing_narrows_the_interval() -> None:
    before, after = systems(60)
    paired = pq_difference(before, after, {0, 1}, {2})["all"]
    apart = bootstrap_pq(list(after.values()), {0, 1, 2}, seed=1) - bootstrap_pq(list(before.values()), {0, 1, 2})
    low, high = interval(apart)
    assert paired.high - paired.low < (high - low) / 2


def test_a_group_without_categories_says_so() -> None:
    before, after = systems(5)
    found = pq_difference(before, after, {0, 1, 2}, ())
    assert found["stuff"] == (0, 0, 0, 0)
    assert found["all"] == found["things"]


def test_other_images_are_refused() -> None:
    before, after = systems(5)
    del after[2]
    with pytest.raises(InputError, match=r"on 5 and 4 images, only the first on \['2'\], only the second on \[\]"):
        pq_difference(before, after, {0, 1}, {2})
    with pytest.raises(InputError, match="at least one"):
        pq_difference({}, {}, {0, 1}, {2})

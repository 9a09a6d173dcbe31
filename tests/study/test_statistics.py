"""Percentiles are shown only where the sample carries them."""

from __future__ import annotations

import pytest

from effbench.study.statistics import percentile, spread


@pytest.mark.parametrize(("q", "least"), [(50, 11), (90, 64), (95, 130), (99, 662)])
def test_a_percentile_of_too_few_samples_is_refused(q: int, least: int) -> None:
    with pytest.raises(ValueError, match=rf"p{q} of {least - 1} samples; expected at least {least}"):
        percentile([1.0] * (least - 1), q)
    assert percentile([1.0] * least, q) == 1.0


def test_percentiles_ignore_the_order_of_the_samples() -> None:
    samples = [float(i) for i in range(101)]
    assert percentile(samples, 50) == percentile(samples[::-1], 50) == 50
    assert percentile(samples, 90) == 90


def test_the_median_bears_an_outlier() -> None:
    assert percentile([1.0] * 10 + [1000.0], 50) == 1.0


def test_the_spread_is_the_interquartile_range_as_a_share_of_the_median() -> None:
    assert spread([10.0, 10.0, 10.0]) == 0
    assert spread([8.0, 9.0, 10.0, 11.0, 12.0]) == pytest.approx(0.2)

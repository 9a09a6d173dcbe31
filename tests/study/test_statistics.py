"""Percentiles are shown only where the sample carries them."""

from __future__ import annotations

import pytest

from effbench.study.statistics import across_processes, drift, licensed, percentile, spread


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


def test_only_licensed_percentiles_are_given() -> None:
    assert licensed([1.0] * 10) == {}
    assert licensed([1.0] * 64) == {50: 1.0, 90: 1.0}
    assert set(licensed([1.0] * 662)) == {50, 90, 95, 99}


def test_drift_is_what_the_second_half_adds() -> None:
    assert drift([1.0, 1.0, 1.0, 1.2, 1.2, 1.2]) == pytest.approx(0.2)
    assert drift([1.0, 9.0, 1.0, 1.0, 9.0, 1.0]) == 0, "a single slow sample is no trend"
    assert drift([2.0, 1.0]) == -0.5


def test_a_process_is_one_observation() -> None:
    """However many samples a process gives, it weighs as much as another."""
    across = across_processes([[10.0] * 11, [11.0] * 1000, [12.0] * 11])
    assert across.median == 11
    assert across.medians == [10, 11, 12]
    assert across.between == pytest.approx(1 / 11)
    assert across.within == 0


def test_the_spread_within_processes_is_apart_from_that_between() -> None:
    noisy = [8.0, 9.0, 10.0, 11.0, 12.0] * 3
    across = across_processes([noisy, noisy])
    assert across.between == 0
    assert across.within == pytest.approx(0.2)


def test_one_process_says_nothing_of_the_next() -> None:
    assert across_processes([[1.0] * 11]).between is None


def test_processes_with_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="p50 of 10 samples; expected at least 11"):
        across_processes([[1.0] * 11, [1.0] * 10])
    with pytest.raises(ValueError, match="samples of no process"):
        across_processes([])

"""The warm-up ends when the times are flat, not earlier, and not never."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, repeat

from effbench.probes.warm_up import warm_up


def times(values: Iterable[float]) -> Callable[[], float]:
    iterator = iter(values)
    return lambda: next(iterator)


def test_slow_first_runs_are_warm_up() -> None:
    warm = warm_up(times(chain([0.9, 0.5, 0.3], repeat(0.2))))
    assert list(warm.times) == [0.9, 0.5, 0.3, 0.2, 0.2, 0.2]
    assert warm.flat


def test_a_first_run_that_compiles_does_not_use_the_time_up() -> None:
    warm = warm_up(times(chain([90.0, 0.3], repeat(0.2))), least_s=1.0)
    assert warm.flat
    assert 1.0 <= sum(warm.times[1:]) < 1.3


def test_short_runs_are_put_together_in_blocks() -> None:
    """A single run of a millisecond that differs is no trend."""
    warm = warm_up(times(repeat(0.001)))
    assert 301 <= len(warm.times) <= 304
    assert warm.flat
    noisy = warm_up(times(chain.from_iterable(repeat([0.001, 0.001, 0.003, 0.001]))))
    assert noisy.flat


def test_it_lasts_as_long_as_the_profile_wants() -> None:
    warm = warm_up(times(repeat(0.2)), least_s=3.0)
    assert 3.0 <= sum(warm.times[1:]) < 3.3
    assert warm.flat


def test_times_that_never_get_flat_end_it_and_are_told() -> None:
    warm = warm_up(times(chain.from_iterable(repeat([0.1, 0.2]))))
    assert 5.0 <= sum(warm.times[1:]) < 5.3
    assert not warm.flat
    assert sum(warm_up(times(chain.from_iterable(repeat([0.1, 0.2]))), least_s=3).times) >= 9.0


def test_a_very_slow_run_is_made_twice_at_least() -> None:
    assert list(warm_up(times(repeat(60.0))).times) == [60.0, 60.0]

"""What a gate is worth: nothing where it knows nothing, all of the oracle's gain where it knows everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from effbench.quality import CategoryStats, ImageStats
from effbench.training.derived import Derived, DerivedImage
from effbench.training.gate_value import chosen_stats, gate_value, oracle_choices

EXITS = (2, 4, 6)


def made(quality: np.ndarray[Any, Any]) -> Derived:
    images = {
        i: DerivedImage((0.0,), tuple(ImageStats({0: CategoryStats(float(pq), 1, 0, 0)}) for pq in row))
        for i, row in enumerate(quality)
    }
    return Derived({}, EXITS, images)


@pytest.fixture
def divided() -> tuple[Derived, np.ndarray[Any, Any]]:
    """Half of 200 images gain 0.2 from six layers, the others nothing; and the exits that know it."""
    hard = np.arange(200) % 2 == 0
    quality = np.where(hard[:, None], np.array([0.5, 0.5, 0.7]), np.array([0.6, 0.6, 0.6]))
    return made(quality), np.where(hard, 6, 2)


def test_the_statistics_are_those_of_each_images_exit(divided: tuple[Derived, np.ndarray[Any, Any]]) -> None:
    derived, best = divided
    pqs = [stats[0].iou_sum for stats in chosen_stats(derived, best)]
    assert pqs == pytest.approx([0.7, 0.6] * 100)


def test_the_oracle_spends_its_budget_where_it_pays(divided: tuple[Derived, np.ndarray[Any, Any]]) -> None:
    derived, best = divided
    np.testing.assert_array_equal(oracle_choices(derived, 6.0, EXITS), best)
    np.testing.assert_array_equal(oracle_choices(derived, 4.0, EXITS), best)
    for budget in (2.0, 2.5, 3.0, 3.5):
        chosen = oracle_choices(derived, budget, EXITS)
        assert chosen.mean() <= budget + 1e-9
        assert chosen.mean() > budget - 0.05, "and all of it, but for a part of one image"
        assert set(chosen[best == 2]) == {2}


@pytest.mark.parametrize("metric", ["dataset", "image"])
def test_a_gate_that_knows_wins_all(metric: str, divided: tuple[Derived, np.ndarray[Any, Any]]) -> None:
    derived, best = divided
    value = gate_value(derived, best, EXITS, metric)
    assert value.mean_exit == 4
    assert value.gate.value == pytest.approx(65) and value.oracle.value == pytest.approx(65)
    assert value.fixed[2].value == pytest.approx(55) and value.fixed[6].value == pytest.approx(65)
    assert value.random.value == pytest.approx(60, abs=0.5)
    assert value.over_random.low > 0 and value.over_fixed[2].low > 0
    assert value.over_fixed[6].value == pytest.approx(0)
    assert value.over_mix.value == pytest.approx(10), "exit 4 gives 55"
    assert value.share is not None and value.share.value == pytest.approx(1) and value.share.low == pytest.approx(1)


def test_a_gate_that_knows_nothing_is_worth_nothing(divided: tuple[Derived, np.ndarray[Any, Any]]) -> None:
    derived, best = divided
    dealt = np.random.default_rng(5).permutation(best)
    value = gate_value(derived, dealt, EXITS)
    assert value.over_random.low < 0 < value.over_random.high
    assert value.share is not None and value.share.low < 0 < value.share.high


def test_where_no_exit_matters_there_is_no_share() -> None:
    for metric in ("dataset", "image"):
        same = gate_value(made(np.full((50, 3), 0.5327)), np.full(50, 4), EXITS, metric)
        assert same.share is None
        assert same.gate == same.oracle == same.fixed[2]
        mixed = gate_value(made(np.full((50, 3), 0.5327)), np.where(np.arange(50) < 20, 2, 6), EXITS, metric)
        assert mixed.share is None, "rounding is no gain"


def test_intervals_hold_the_values(divided: tuple[Derived, np.ndarray[Any, Any]]) -> None:
    derived, best = divided
    rng = np.random.default_rng(7)
    half = np.where(rng.random(200) < 0.5, best, rng.permutation(best))
    value = gate_value(derived, half, EXITS)
    for one in (value.gate, value.random, value.oracle, value.over_random, *value.fixed.values()):
        assert one.low <= one.value <= one.high
    assert value.share is not None and 0.2 < value.share.value < 0.8


def test_the_mix_lies_between_the_neighbours_of_the_mean_exit() -> None:
    derived = made(np.tile([0.4, 0.5, 0.8], (100, 1)))
    choices = np.where(np.arange(100) < 50, 4, 6)  # 5 on average, half-way between 0.5 and 0.8
    value = gate_value(derived, choices, EXITS)
    assert value.gate.value == pytest.approx(65) and value.over_mix.value == pytest.approx(0)
    assert gate_value(derived, np.full(100, 4), EXITS).over_mix.value == pytest.approx(0)


def test_mean_image_quality_and_that_of_the_set_are_two_things() -> None:
    """One image has a class that is missed, the other a class of two segments that are found."""
    stats = [ImageStats({0: CategoryStats(0.0, 0, 0, 1)}), ImageStats({0: CategoryStats(1.8, 2, 0, 0)})]
    derived = Derived({}, (2,), {i: DerivedImage((0.0,), (one,)) for i, one in enumerate(stats)})
    found = {metric: gate_value(derived, np.full(2, 2), (2,), metric).gate.value for metric in ("dataset", "image")}
    assert found["image"] == pytest.approx(45) and found["dataset"] == pytest.approx(100 * 1.8 / 2.5)

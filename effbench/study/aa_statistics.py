"""Noise floor, false alarms and power of a machine's timings, from processes that did the same or a little more.

Pure functions of process medians in the order of time; effbench/study/aa.py measures them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from effbench.study.compare import Ratio, judge, ratio_of_medians

Floats = npt.NDArray[np.float64]

FALSE_ALARMS, FOUND = 0.01, 0.95
"""The targets: at most this share of A/A comparisons called a change, at least this share of planted ones found."""
QUANTILE = 0.99
DRAWS = 2000
STEP, LARGEST = 0.005, 0.5
"""The smallest detectable slow-down is looked for up to `LARGEST` in these steps."""


@dataclass(frozen=True)
class Evaluation:
    """What comparisons of random halves gave; shares, as 0.01 for 1%.

    Attributes:
        processes: per side of a comparison.
        comparisons, false_alarms: of processes that did the same work, and how many were called a change.
        planted, measured: the slow-down that was meant, and the ratio of the medians of all processes less 1.
        plants, found: how many comparisons with the slow-down, and how many of them were called slower.
        floor: noise floor at this number of processes, for sides that take turns.
        floor_one_after_the_other: the same for sides that do not, as far as a drift within this run shows it.
        smallest: the least slow-down that 95% of comparisons would find. Simulated: the samples of the A/A comparisons
            are multiplied. None where a slow-down of 50% would not be found.
    """

    processes: int
    comparisons: int
    false_alarms: int
    planted: float
    measured: float
    plants: int
    found: int
    floor: float
    floor_one_after_the_other: float
    smallest: float | None

    @property
    def reached(self) -> bool:
        """Whether both targets are."""
        return self.false_alarms <= FALSE_ALARMS * self.comparisons and self.found >= FOUND * self.plants


def halves(pairs: Floats, size: int, rng: np.random.Generator, swap: bool = True) -> tuple[Floats, Floats]:
    """Two sets of `size`, one of each of as many random pairs (N, 2); `swap` also draws which of a pair goes where."""
    chosen = pairs[rng.permutation(len(pairs))[:size]]
    chosen = rng.permuted(chosen, axis=1) if swap else chosen
    return chosen[:, 0], chosen[:, 1]


def neighbours(values: Floats) -> Floats:
    """(N,) in the order of time as pairs of neighbours (N // 2, 2), which go to opposite sides: so sides take turns."""
    return values[: len(values) // 2 * 2].reshape(-1, 2)


def noise_floor(values: Floats, size: int, interleaved: bool = True, seed: int = 0) -> float:
    """How far two sets of processes that do the same lie apart, as a share, in 99 of 100 cases.

    Args:
        values: medians of processes that did the same, in the order of time, (N,).
        size: processes of a set. More than N allows count as what it allows: the floor is then too high, not too low.
        interleaved: whether the sets take turns, or one is measured after the other.
    """
    rng = np.random.default_rng(seed)
    # windows need room to lie apart in more than one way
    size = max(1, min(size, len(values) // (2 if interleaved else 4)))
    pairs, ratios = neighbours(values), np.empty(DRAWS)
    for draw in range(DRAWS):
        if interleaved:
            one, other = halves(pairs, size, rng)
        else:
            first = rng.integers(0, len(values) - 2 * size + 1)
            second = rng.integers(first + size, len(values) - size + 1)
            one, other = values[first : first + size], values[second : second + size]
        ratios[draw] = np.median(other) / np.median(one)
    return float(np.expm1(np.quantile(np.abs(np.log(ratios)), QUANTILE)))


def evaluate(plain: Floats, slowed: Floats, planted: float, comparisons: int = 200, seed: int = 0) -> Evaluation:
    """Compare random halves by the rules of effbench/study/compare.py.

    False alarms among the plain processes are counted with the floor of the slowed ones, and the other way round:
    with its own floor a pool would have few by construction.

    Args:
        plain, slowed: process medians in the order of time, (2 N,) each: N are a side of a comparison.
        planted: the slow-down of the second, as a share.
        comparisons: without a slow-down; with it there are half as many.
    """
    rng = np.random.default_rng(seed)
    size = len(plain) // 2
    floors = noise_floor(slowed, size), noise_floor(plain, size)
    alarms, same = 0, []
    for number in range(comparisons):
        values, floor = (plain, slowed)[number % 2], floors[number % 2]
        same.append(ratio_of_medians(*halves(neighbours(values), size, rng), paired=True, seed=number))
        alarms += judge(same[-1], floor).word in ("slower", "faster")
    together = np.stack([plain, slowed], axis=1)
    plants = [halves(together, size, rng, swap=False) for _ in range(comparisons // 2)]
    ratios = [ratio_of_medians(*pair, paired=True, seed=number) for number, pair in enumerate(plants)]
    return Evaluation(
        processes=size,
        comparisons=comparisons,
        false_alarms=alarms,
        planted=planted,
        measured=float(np.median(slowed) / np.median(plain) - 1),
        plants=len(plants),
        found=sum(is_slower(ratio, max(floors)) for ratio in ratios),
        floor=max(floors),
        floor_one_after_the_other=max(noise_floor(values, size, interleaved=False) for values in (plain, slowed)),
        smallest=smallest_found(same, max(floors)),
    )


def is_slower(found: Ratio, floor: float) -> bool:
    """Whether it would be called a slow-down."""
    return judge(found, floor).word == "slower"


def smallest_found(same: list[Ratio], floor: float) -> float | None:
    """The least slow-down that 95% of these A/A comparisons would find, were one side's samples multiplied by it."""
    for step in range(1, round(LARGEST / STEP) + 1):
        share = step * STEP
        slower = [is_slower(Ratio(*((1 + share) * value for value in ratio)), floor) for ratio in same]
        if sum(slower) >= FOUND * len(same):
            return round(share, 3)
    return None

"""Warm-up: runs before the samples, until their times are flat."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BLOCK_S, BLOCKS, FLAT = 0.1, 3, 0.05
MOST_S = 5.0


@dataclass(frozen=True)
class WarmUp:
    """The times of all runs of a warm-up in seconds, and whether it ended because they were flat."""

    times: Sequence[float]
    flat: bool


def warm_up(time_once: Callable[[], float], least_s: float = 0.0) -> WarmUp:
    """Run until the times are flat, for at least `least_s` seconds, and no longer than 5 s or 3 x `least_s`.

    Flat: the medians of the last three blocks lie within 5% of each other. A block is as many runs as fill a tenth of
    a second, so that short runs are averaged and a long one is a block of its own. The first run counts for neither
    length: it may compile for minutes.
    """
    times = [time_once()]
    medians: list[float] = []
    block: list[float] = []
    spent, most_s = 0.0, max(MOST_S, 3 * least_s)
    while spent < most_s:
        times.append(time_once())
        block.append(times[-1])
        spent += times[-1]
        if sum(block) >= BLOCK_S:
            medians.append(statistics.median(block))
            block = []
            if spent >= least_s and _flat(medians):
                return WarmUp(times, True)
    return WarmUp(times, False)


def _flat(medians: Sequence[float]) -> bool:
    last = medians[-BLOCKS:]
    return len(last) == BLOCKS and max(last) - min(last) <= FLAT * statistics.median(last)

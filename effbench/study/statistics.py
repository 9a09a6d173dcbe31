"""Statistics of raw samples, in one place: everything that is shown is derived here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_SAMPLES = {50: 11, 90: 64, 95: 130, 99: 662}
"""Samples below which a percentile is not shown: its 99% interval would leave the sample's range."""


def percentile(samples: Sequence[float], q: int) -> float:
    """The q-th percentile (50, 90, 95 or 99) in the samples' unit.

    Raises ValueError when the sample is too small for it.
    """
    if len(samples) < LEAST_SAMPLES[q]:
        raise ValueError(f"p{q} of {len(samples)} samples; expected at least {LEAST_SAMPLES[q]}")
    return float(np.percentile(samples, q))


def licensed(samples: Sequence[float]) -> dict[int, float]:
    """q -> the q-th percentile, of those for which there are enough samples."""
    return {q: percentile(samples, q) for q, least in LEAST_SAMPLES.items() if len(samples) >= least}


def spread(samples: Sequence[float]) -> float:
    """Interquartile range over the median: how much the samples disagree, as a share."""
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return float((high - low) / middle)


def drift(samples: Sequence[float]) -> float:
    """By how much the median of the second half is above that of the first, as a share: a trend no median shows."""
    middle = len(samples) // 2
    return float(np.median(samples[middle:]) / np.median(samples[:middle]) - 1)


@dataclass(frozen=True)
class AcrossProcesses:
    """Samples of several processes, of which each is one observation.

    Attributes:
        median: of the processes' medians, in the samples' unit.
        medians: of each process.
        between: standard deviation of the medians over `median`, None for a single process. This, and not `within`, is
            what a difference between two systems is held against.
        within: mean of the processes' own `spread`.
    """

    median: float
    medians: Sequence[float]
    between: float | None
    within: float


def across_processes(samples: Sequence[Sequence[float]]) -> AcrossProcesses:
    """The samples of each process as one observation each.

    Raises ValueError for no process, or for one whose samples are too few for a median.
    """
    if not samples:
        raise ValueError("samples of no process; expected those of at least one")
    medians = [percentile(own, 50) for own in samples]
    middle = float(np.median(medians))
    between = float(np.std(medians, ddof=1) / middle) if len(medians) > 1 else None
    return AcrossProcesses(middle, medians, between, float(np.mean([spread(own) for own in samples])))

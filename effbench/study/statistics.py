"""Statistics of raw samples, in one place: everything that is shown is derived here."""

from __future__ import annotations

from collections.abc import Sequence

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


def spread(samples: Sequence[float]) -> float:
    """Interquartile range over the median: how much the samples disagree, as a share."""
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return float((high - low) / middle)

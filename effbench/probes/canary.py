"""A canary: one small matrix product before and after the samples, to see whether the machine changed meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from effbench.probes.clocks import clock
from effbench.probes.warm_up import warm_up

RUNS = 11
SIDE = {"cpu": 1024, "cuda": 4096}
LIMIT = {"cpu": 0.10, "cuda": 0.02}
"""Share by which the median may move.

On a GPU that nobody else uses, more means another clock or heat. On two cores of which other processes kept 1.4 busy,
the median moved by up to 9% while their number stayed the same, and by 25% to 125% when it changed.
"""


@dataclass(frozen=True)
class Canary:
    """Seconds of each run before and after the samples."""

    before: Sequence[float]
    after: Sequence[float]
    limit: float

    @classmethod
    def between(cls, before: Sequence[float], after: Sequence[float], device: torch.device) -> Canary:
        """With the device's limit."""
        return cls(before, after, LIMIT[device.type])

    @property
    def moved(self) -> float:
        """By how much the median after is above the one before, as a share; negative where it is below."""
        return statistics.median(self.after) / statistics.median(self.before) - 1

    @property
    def unsteady(self) -> str | None:
        """Why to doubt the samples between, or None."""
        if abs(self.moved) <= self.limit:
            return None
        return (
            f"the machine changed while it was measured: the canary moved by {100 * self.moved:+.1f}%, "
            f"at most {100 * self.limit:g}% is allowed; measure again when nothing else runs"
        )

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return {"before": list(self.before), "after": list(self.after), "moved": self.moved, "limit": self.limit}


def canary_times(device: torch.device) -> list[float]:
    """Seconds of `RUNS` float32 products of two square matrices, by the device's clock where there is one."""
    side = SIDE[device.type]
    a, b = torch.ones(side, side, device=device), torch.ones(side, side, device=device)
    out, timer = torch.empty_like(a), clock(device)

    def once() -> float:
        sample = timer.time(lambda: torch.mm(a, b, out=out))
        return sample.host if sample.device is None else sample.device

    warm_up(once)
    return [once() for _ in range(RUNS)]

"""Two clocks: the host's, with the device synchronised at both ends, and the device's own.

A user waits for the host's. The device's leaves out what the host needs to launch work: the two apart say whether a
cell waits for its launches. The host's alone is there on a CPU.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Run = Callable[[], Any]

LAUNCH_BOUND = 1.1
"""Host over device time from which on a cell is called launch-bound."""

_CALIBRATION_CYCLES = 10_000_000
_AHEAD = 1.5
"""How much longer than launching the work took before, the device is kept busy while the host launches it again."""


@dataclass(frozen=True)
class Sample:
    """One run: when it began (`time.perf_counter`), and its seconds by the host's and by the device's clock."""

    at: float
    host: float
    device: float | None = None


class Clock(Protocol):
    """Times one run."""

    def time(self, run: Run) -> Sample: ...


class HostClock:
    """The host's alone, for a CPU, or for what a user waits for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, run: Run) -> Sample:
        """One run."""
        synchronise(self.device)
        start = time.perf_counter()
        run()
        synchronise(self.device)
        return Sample(start, time.perf_counter() - start)


class CudaClock:
    """Both clocks of a CUDA device, each by a run of its own.

    CUDA events around work on an idle device would also count the gaps in which the device waits for the next launch.
    So the device is first kept busy while the host launches everything (as nvbench does with its blocking kernel);
    what lies between the events is then the device's time alone. Work that itself waits for the device cannot be
    launched ahead: see `synchronisations`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        begin, end = self._event(), self._event()
        torch.cuda._sleep(_CALIBRATION_CYCLES)  # the first one is slower
        begin.record()
        torch.cuda._sleep(_CALIBRATION_CYCLES)
        end.record()
        torch.cuda.synchronize(device)
        self.cycles_per_second = _CALIBRATION_CYCLES / (begin.elapsed_time(end) / 1000)

    def time(self, run: Run) -> Sample:
        """Two runs, one for each clock."""
        torch.cuda.synchronize(self.device)
        start = time.perf_counter()
        run()
        launched = time.perf_counter() - start
        torch.cuda.synchronize(self.device)
        host = time.perf_counter() - start
        begin, end = self._event(), self._event()
        torch.cuda._sleep(int(_AHEAD * launched * self.cycles_per_second))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize(self.device)
        return Sample(start, host, begin.elapsed_time(end) / 1000)

    def _event(self) -> Any:
        return torch.cuda.Event(enable_timing=True)


def clock(device: torch.device) -> Clock:
    """The clock of a device."""
    return CudaClock(device) if device.type == "cuda" else HostClock(device)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was launched."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def synchronisations(run: Run, device: torch.device) -> int | None:
    """How often one run makes the host wait for the device; None on a CPU.

    Where it is not 0 the device's clock counts some launch gaps, too, and `launch_bound` may miss what it looks for.
    """
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def launch_bound(host: float, device: float | None) -> bool | None:
    """Whether the device mostly waits for its launches (`LAUNCH_BOUND`); None where there is one clock only."""
    return None if device is None else host / device > LAUNCH_BOUND

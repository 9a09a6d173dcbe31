"""Watches the machine while samples are taken, so that a record says by itself whether to believe them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from effbench.probes.canary import Canary, canary_times
from effbench.probes.clocks import Sample
from effbench.probes.conditions import Conditions
from effbench.probes.device_trace import DeviceTrace
from effbench.probes.neighbours import CpuLoad, newcomers, processes


class Watch:
    """Entered after the warm-up and left after the last sample.

    Args:
        how: conditions of the cell.
        before: processes on the device before this one used it (`neighbours.processes`).
    """

    def __init__(self, how: Conditions, before: Collection[int]) -> None:
        self.how, self._before = how, before
        self._trace = DeviceTrace(how.device)

    def __enter__(self) -> Watch:
        self._trace.__enter__()  # first, since it waits, and a device that waits slows down
        self._canary = canary_times(self.how.device)
        self._load = CpuLoad()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.load = self._load.to_json()
        if error[0] is None:
            self.canary = Canary.between(self._canary, canary_times(self.how.device), self.how.device)
            self.newcomers = newcomers(self._before, processes(self.how.device))
        self._trace.__exit__(*error)

    @property
    def invalid(self) -> str | None:
        """Why the samples are not to be believed, or None.

        A canary that moved invalidates them on a GPU that is not `shared`. Neighbours move it by tens of percent: on a
        busy CPU no sample would be left. There the record is flagged as `unsteady`, and what decides is how much whole
        processes differ.
        """
        if self.how.shared or self.how.device.type == "cpu":
            return None
        if self.newcomers:
            return f"{len(self.newcomers)} other processes came to {self.how.device} meanwhile; end them, measure again"
        return self.canary.unsteady

    def to_json(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """For the record: conditions, canary, load, trace, when each sample began and which of them were slowed down.

        Seconds of `at` and of the trace count from the same moment. `unsteady` is None, or says why to doubt the
        samples; `invalid` is there where they are not to be believed at all, and says why.
        """
        detail = {
            "conditions": self.how.to_json(),
            "at": [round(sample.at - self._began, 6) for sample in samples],
            "canary": self.canary.to_json(),
            "unsteady": self.canary.unsteady,
            "load": self.load,
            "trace": self._trace.to_json(self._began),
            "throttled": self._trace.throttled(samples),
            "other_processes": len(set(self._before)) + len(self.newcomers),
        }
        return detail if self.invalid is None else {**detail, "invalid": self.invalid}

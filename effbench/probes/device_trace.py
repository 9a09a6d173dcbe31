"""What an NVIDIA GPU did while samples were taken: clocks, temperature, power, and why it was slowed down."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch

from effbench.probes.clocks import Sample
from effbench.probes.neighbours import smi_id

PERIOD_MS = 100
START_S = 5.0
"""How long the first row is waited for: nvidia-smi needs a moment, and short samples would be over by then."""

FIELDS = {
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "slowed_by": "clocks_event_reasons.active",
}
OLD_NAMES = {"clocks_event_reasons.active": "clocks_throttle_reasons.active"}
"""Drivers before 535."""

SLOWED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
"""NVML's reasons that slow a busy GPU down: power cap, hardware slow-down, heat (software, hardware), power brake."""


class DeviceTrace:
    """Ten rows a second while entered; none on a CPU.

    Attributes:
        rows: `time.perf_counter` when the row came and the numbers of `FIELDS`, None where the driver does not say.
        complaints: whatever else nvidia-smi printed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rows: list[tuple[float, Sequence[float | None]]] = []
        self.complaints: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._began = threading.Event()

    def __enter__(self) -> DeviceTrace:
        if self.device.type != "cuda":
            return self
        if shutil.which("nvidia-smi") is None:
            self.complaints.append("no nvidia-smi on the path")
            return self
        query = [f"--query-gpu={','.join(_names())}", "--format=csv,noheader,nounits"]
        self._process = subprocess.Popen(
            ["nvidia-smi", *query, "-i", smi_id(self.device), "-lms", str(PERIOD_MS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._began.wait(START_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._reader.join()
            self._process.wait()

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                values = [_number(text.strip()) for text in line.split(",")]
                if len(values) == len(FIELDS):
                    self.rows.append((time.perf_counter(), values))
                    self._began.set()
                else:
                    self.complaints.append(line.strip())
        self._began.set()

    def to_json(self, began: float) -> dict[str, Any] | None:
        """Column -> values, `at` in seconds since `began`; on a GPU without rows why so, on a CPU None."""
        if not self.rows:
            return None if self.device.type != "cuda" else {"failed": " ".join(self.complaints) or "no row came"}
        columns = zip(*(values for _, values in self.rows), strict=True)
        return {
            "at": [round(t - began, 3) for t, _ in self.rows],
            **{name: list(column) for name, column in zip(FIELDS, columns, strict=True)},
        }

    def throttled(self, samples: Sequence[Sample]) -> list[int]:
        """Which samples ran while the GPU was slowed down: a row within a period of the run says so."""
        slow = [t for t, values in self.rows if int(values[-1] or 0) & SLOWED]
        margin = PERIOD_MS / 1000
        return [
            i
            for i, sample in enumerate(samples)
            if any(sample.at - margin <= t <= sample.at + _seconds(sample) + margin for t in slow)
        ]


def _names() -> list[str]:
    """`FIELDS` as this driver calls them."""
    known = subprocess.run(["nvidia-smi", "--help-query-gpu"], capture_output=True, text=True, timeout=60).stdout
    return [name if name in known else OLD_NAMES.get(name, name) for name in FIELDS.values()]


def _seconds(sample: Sample) -> float:
    return sample.host + (sample.device or 0.0)


def _number(text: str) -> float | None:
    """ "1980", "0x0000000000000004" or "[N/A]" as a number, or None."""
    try:
        return float(int(text, 16)) if text.startswith("0x") else float(text)
    except ValueError:
        return None

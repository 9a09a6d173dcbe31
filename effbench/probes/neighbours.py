"""Who else computes: processes on an NVIDIA GPU, and the load of a CPU.

nvidia-smi comes with the driver, so that no further library is needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch

_STAT = Path("/proc/stat")


def smi_id(device: torch.device) -> str:
    """The device as nvidia-smi's -i takes it: an index or UUID, by CUDA_VISIBLE_DEVICES where that is set."""
    index = device.index or 0
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return visible[index] if index < len(visible) else str(index)


def processes(device: torch.device) -> set[int]:
    """Identifiers of the processes that have a context on an NVIDIA GPU; none on a CPU or without nvidia-smi."""
    if device.type != "cuda" or shutil.which("nvidia-smi") is None:
        return set()
    query = ["--query-compute-apps=pid", "--format=csv,noheader,nounits"]
    answer = subprocess.run(["nvidia-smi", *query, "-i", smi_id(device)], capture_output=True, text=True, timeout=60)
    return {int(line) for line in answer.stdout.split() if line.isdecimal()}


def foreign(device: torch.device) -> str | None:
    """Why nothing should be timed on the device now, or None: another process computes on it.

    To be asked before this process uses the device: in a container its own identifier may look like another's.
    """
    others = processes(device) - {os.getpid()}
    if not others:
        return None
    numbers = ", ".join(map(str, sorted(others)))
    return f"other processes compute on {device} ({numbers}); end them, or set the option shared"


def newcomers(before: Collection[int], after: Collection[int]) -> set[int]:
    """Processes that came to the device since `before`, which was asked before this process used it.

    This process is one of them, under its own identifier or, in a container, under one that it does not know.
    """
    new = set(after) - set(before)
    if os.getpid() in new:
        return new - {os.getpid()}
    return new if len(new) > 1 else set()


@dataclass(frozen=True)
class _Ticks:
    wall: float
    own: float
    busy: float | None
    stolen: float | None


class CpuLoad:
    """What the CPU did besides this process, from when this was made until `to_json`."""

    def __init__(self) -> None:
        self.begin = _ticks()

    def to_json(self) -> dict[str, float | None]:
        """Cores that other processes kept busy, and those that a hypervisor took; None where the system does not say.

        `load_average` is the system's over the last minute, this process included.
        """
        end, begin = _ticks(), self.begin
        wall = max(end.wall - begin.wall, 1e-9)
        others = stolen = None
        if end.busy is not None and begin.busy is not None:
            others = max(0.0, (end.busy - begin.busy - (end.own - begin.own)) / wall)
        if end.stolen is not None and begin.stolen is not None:
            stolen = (end.stolen - begin.stolen) / wall
        return {"load_average": os.getloadavg()[0], "other_cores": others, "stolen_cores": stolen}


def _ticks() -> _Ticks:
    wall, own = time.perf_counter(), time.process_time()
    if not _STAT.exists():
        return _Ticks(wall, own, None, None)
    # cpu user nice system idle iowait irq softirq steal ...: proc(5)
    ticks = [int(n) / os.sysconf("SC_CLK_TCK") for n in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = ticks
    return _Ticks(wall, own, user + nice + system + irq + softirq, steal)

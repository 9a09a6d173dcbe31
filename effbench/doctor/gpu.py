"""What would distort a timing on an NVIDIA GPU, as nvidia-smi tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Literal

import torch

from effbench.probes.device_trace import SLOWED
from effbench.probes.neighbours import processes, smi_id

Row = tuple[str, Literal["ok", "warning", "unknown"], str, str]
"""Subject, status, what was found, how to mend it."""

FIELDS = (
    "clocks.sm",
    "clocks.max.sm",
    "clocks_throttle_reasons.active",
    "temperature.gpu",
    "power.draw",
    "power.limit",
    "persistence_mode",
)
REASONS = {
    0x4: "the power limit",
    0x8: "the hardware",
    0x20: "heat (software limit)",
    0x40: "heat (hardware limit)",
    0x80: "the power supply",
}


def gpu_distortions() -> list[Row]:
    """Rows for every CUDA device; none where there is no device. To be asked before this process uses one."""
    rows: list[Row] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", index)
        if shutil.which("nvidia-smi") is None:
            rows.append((str(device), "unknown", "nvidia-smi is not here to tell its state", "put it on the PATH"))
            continue
        others = processes(device) - {os.getpid()}
        numbers = ", ".join(map(str, sorted(others)))
        rows.append(
            (f"{device} processes", "warning", f"others compute on it: {numbers}", "end them, or take another device")
            if others
            else (f"{device} processes", "ok", "none", "")
        )
        rows += state(str(device), _query(device))
    return rows


def _query(device: torch.device) -> dict[str, str]:
    query = [f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", "-i", smi_id(device)]
    answer = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, timeout=60).stdout.strip()
    values = [value.strip() for value in answer.split(",")]
    return dict(zip(FIELDS, values, strict=True)) if len(values) == len(FIELDS) else {}


def state(device: str, told: Mapping[str, str]) -> Iterator[Row]:
    """From `FIELDS` as nvidia-smi prints them; {} where it gave no answer."""
    if not told:
        yield f"{device} clocks", "unknown", "nvidia-smi does not tell", "see what nvidia-smi says by itself"
        return
    found = (
        f"{told['clocks.sm']} of {told['clocks.max.sm']} MHz now, {told['temperature.gpu']} °C, "
        f"{told['power.draw']} of {told['power.limit']} W"
    )
    try:
        reasons = int(told["clocks_throttle_reasons.active"], 16)
    except ValueError:
        yield (
            f"{device} clocks",
            "unknown",
            f"{found}; the driver does not say what slows it down",
            "watch nvidia-smi -q",
        )
    else:
        slowed = [name for bit, name in REASONS.items() if reasons & SLOWED & bit]
        if slowed:
            mend = "cool it, raise the limit (sudo nvidia-smi -pl), or wait until it is idle"
            yield f"{device} clocks", "warning", f"slowed down by {', '.join(slowed)}: {found}", mend
        else:
            yield f"{device} clocks", "ok", found, ""
    if told["persistence_mode"] == "Disabled":
        mend = "sudo nvidia-smi -pm 1"
        yield f"{device} persistence", "warning", "off: the driver starts anew for every first process", mend

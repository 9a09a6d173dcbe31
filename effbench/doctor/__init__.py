"""What this machine can run, what would distort a timing on it, and how to mend that."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from effbench.doctor import abilities, distortions
from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS, resolve_implementation, why_not


def examine(root: Path = Path("/"), seconds: float = 1.0) -> dict[str, Any]:
    """All that doctor knows, as plain JSON.

    Args:
        root: where /proc and /sys lie.
        seconds: how long the use of the CPU is watched.

    Returns:
        devices: name, memory in bytes, driver and types of number of each; implementations of ms_deform_attn by
        device, each "runs" or why not; peers: optional packages; distortions: what to mend before timing.
    """
    # first: a GPU's processes are other people's only until this one uses it
    found = distortions.examine(root, seconds)
    devices = abilities.devices(root)
    return {
        "devices": devices,
        "implementations": {device: implementations(torch.device(device)) for device in devices},
        "peers": abilities.peers(),
        "distortions": [asdict(finding) for finding in found],
    }


def implementations(device: torch.device) -> dict[str, str]:
    """Implementation of ms_deform_attn -> "runs", or why it does not on `device`; "auto" -> the one it means."""
    value = torch.empty(1, 1, 1, 32, device=device)
    return {"auto": resolve_implementation("auto", value)} | {
        name: why_not(name, value) or "runs" for name in IMPLEMENTATIONS
    }

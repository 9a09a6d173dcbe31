"""On what a measurement ran: libraries, hardware, an anonymous mark of the machine, the commit."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "triton")


@cache
def environment() -> dict[str, Any]:
    """What a result may depend on and that stays the same from run to run: no clock, load or temperature."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        **{name: _version(name) for name in LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def cpu_model() -> str:
    """The CPU's model as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if match:
            return match.group(1).strip()
    if platform.system() == "Darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string")
    return platform.processor() or platform.machine()


@cache
def host() -> str:
    """A mark that is the same on one machine and says nothing about it: never a host name."""
    machine_id = Path("/etc/machine-id")
    text = machine_id.read_text().strip() if machine_id.exists() else ""
    return hashlib.sha256(f"effbench {text or platform.node()}".encode()).hexdigest()[:12]


def machine(device: str | None = None) -> str:
    """Folder name for this kind of machine: its accelerator, or its CPU model and cores (`cpu-amd-epyc-2c`).

    The latter, too, for `device` cpu: what the CPU beside a GPU did says nothing of the GPU.
    """
    env = environment()
    name = (env["gpu"] if device != "cpu" else None) or f"cpu {env['cpu']} {env['cores']}c"
    name = re.sub(r"\((r|tm)\)|nvidia|\bcpu @.*?ghz|\d+-core|processor", " ", str(name).lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


@cache
def commit() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout this package runs from, (None, None) where it is not one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        head = _output("git", "-C", str(root), "rev-parse", "HEAD")
        return head, bool(_output("git", "-C", str(root), "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

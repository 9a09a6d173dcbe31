"""Devices with their memory, driver and types of number, and the optional packages that are here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from effbench.doctor.files import read, sizes
from effbench.study.environment import cpu_model, environment

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# What /proc/cpuinfo calls instructions for products of 16-bit numbers (x86, Arm).
_CPU_FLAGS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "asimdhp"},
}

PEERS = {
    "panopticapi": (
        ("panopticapi",),
        "referee of the panoptic quality",
        "pip install git+https://github.com/cocodataset/panopticapi",
    ),
    "transformers": (("transformers",), "referee of the model", "pip install 'effbench[test]'"),
    "fvcore": (("fvcore",), "the papers' MAC counter, referee of ours", "pip install 'effbench[test]'"),
    "zeus": (("zeus", "zeus-ml"), "energy", "pip install 'effbench[energy]'"),
}
"""Module -> names of its distribution, what it is for, how to install it."""


def devices(root: Path = Path("/")) -> dict[str, dict[str, Any]]:
    """Device -> name, memory in bytes (None where the system does not say), driver, dtypes."""
    memory = sizes(root / "proc/meminfo")
    found: dict[str, dict[str, Any]] = {
        "cpu": {
            "name": cpu_model(),
            "cores": environment()["cores"],
            "memory": memory.get("MemTotal"),
            "memory_free": memory.get("MemAvailable"),
            "driver": None,
        }
    }
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory": properties.total_memory,
            "memory_free": torch.cuda.mem_get_info(index)[0],
            "driver": _nvidia_driver(),
        }
    if torch.backends.mps.is_available():
        found["mps"] = {"name": cpu_model(), "memory": None, "memory_free": None, "driver": None}
    for name, device in found.items():
        device["dtypes"] = dtypes(torch.device(name), root)
    return found


def dtypes(device: torch.device, root: Path = Path("/")) -> dict[str, str]:
    """Type of number -> "runs", "runs, slowly: ...", or the error of a small convolution and product in it."""
    answers = {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        try:
            x = torch.ones(1, 8, 8, 8, dtype=dtype, device=device)
            (F.conv2d(x, x[:, :, :3, :3]) @ x[0, 0, :6, :6]).sum().item()
        except (RuntimeError, TypeError) as error:
            answers[name] = str(error).splitlines()[0]
            continue
        answers[name] = "runs" if _in_hardware(dtype, device, root) else "runs, slowly: the device has no instructions"
    return answers


def _in_hardware(dtype: torch.dtype, device: torch.device, root: Path) -> bool:
    """Whether the device computes in this type; taken for granted where the system does not say."""
    if device.type == "cuda" and dtype is torch.bfloat16:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = read(root / "proc/cpuinfo")
    if device.type != "cpu" or dtype not in _CPU_FLAGS or info is None:
        return True
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", info, re.MULTILINE)
    return flags is None or bool(_CPU_FLAGS[dtype] & set(flags.group(1).split()))


def _nvidia_driver() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=60).stdout.split()
    return answer[0] if answer else None


def peers() -> dict[str, dict[str, str | None]]:
    """Optional package -> version (None where it is missing), what it is for, how to install it."""
    return {
        module: {"version": _version(module, names), "purpose": purpose, "install": install}
        for module, (names, purpose, install) in PEERS.items()
    }


def _version(module: str, distributions: tuple[str, ...]) -> str | None:
    if importlib.util.find_spec(module) is None:
        return None
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"

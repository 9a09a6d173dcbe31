"""Which device a command computes on."""

from __future__ import annotations

from effbench.errors import InputError

DEVICES = ("cpu", "cuda")


def checked_device(name: str | None) -> str:
    """The device called `name`; without one, cuda where this machine has it, else cpu.

    Raises InputError for another name, and for cuda on a machine without.
    """
    import torch

    if name not in (None, *DEVICES):
        raise InputError(f"device {name!r}; expected one of {', '.join(DEVICES)} (CUDA_VISIBLE_DEVICES says which GPU)")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda, and this machine has no CUDA device; expected cpu here")
    return name or ("cuda" if torch.cuda.is_available() else "cpu")

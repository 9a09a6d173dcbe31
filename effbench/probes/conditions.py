"""Under which conditions a cell is timed: device, type of number, TF32, mode, order in memory, one size or any.

They are axes of a study, so that they are checked before anything runs, and what ran is in the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from effbench.errors import InputError
from effbench.probes.base import needs_device
from effbench.probes.neighbours import foreign
from effbench.study.cell import Cell

DTYPES = ("float32", "bfloat16", "float16")
MODES = ("eager", "compile", "graph", "compile, graph")
GRAPHS = MODES[2:]


@dataclass(frozen=True)
class Conditions:
    """How a cell runs.

    Attributes:
        device, dtype, batch: the cell's.
        tf32: whether float32 products and convolutions may round their inputs to TF32 (CUDA only).
        mode: eager, compile (torch.compile), graph (a CUDA graph that is captured once and replayed), or both.
        channels_last: whether maps and convolutions keep the channels of a pixel side by side in memory.
        fixed_size: whether the encoder is made for images of the cell's size alone (`Encoder.at_size`).
        shared: whether other processes may compute on the device meanwhile.
    """

    device: torch.device
    dtype: torch.dtype
    batch: int
    tf32: bool
    mode: str
    channels_last: bool
    fixed_size: bool
    shared: bool

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return {
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "batch": self.batch,
            "tf32": self.tf32,
            "mode": self.mode,
            "channels_last": self.channels_last,
            "fixed_size": self.fixed_size,
        }

    @property
    def plain(self) -> bool:
        """Whether the encoder runs as it was built: eagerly, its maps row by row, at any size."""
        return self.mode == "eager" and not self.channels_last and not self.fixed_size

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, TF32 is as the conditions say; afterwards as it was before."""
        if self.device.type != "cuda":
            yield
            return
        before = _precisions()
        _set_precisions((_named(self.tf32),) * 2)
        try:
            yield
        finally:
            _set_precisions(before)


def conditions(cell: Cell) -> Conditions:
    """The cell's conditions, from its fields and `options`.

    These are mode ("eager"), and, all False, tf32, channels_last, fixed_size, shared.

    Raises InputError for a value that is not allowed, or that the device has no use for.
    """
    device, options = torch.device(cell.device), cell.options
    mode, tf32 = options.get("mode", "eager"), options.get("tf32", False)
    if cell.dtype not in DTYPES:
        raise InputError(f"dtype {cell.dtype!r}; expected one of {', '.join(DTYPES)}")
    if mode not in MODES:
        raise InputError(f"mode {mode!r}; expected one of {', '.join(map(repr, MODES))}")
    if tf32 and (device.type != "cuda" or cell.dtype != "float32"):
        raise InputError(f"tf32 with {cell.dtype} on {device}; expected float32 on a CUDA device, leave it out")
    switches = (bool(options.get(name, False)) for name in ("channels_last", "fixed_size", "shared"))
    return Conditions(device, getattr(torch, cell.dtype), cell.batch, bool(tf32), mode, *switches)


def plain_conditions(cell: Cell, probe: str) -> Conditions:
    """The cell's conditions for a probe that runs encoders as they were built alone; InputError for others."""
    how = conditions(cell)
    if not how.plain:
        raise InputError(
            f"{probe} in mode {how.mode!r}, channels_last={how.channels_last}, fixed_size={how.fixed_size}; expected "
            "'eager' and neither: it takes the encoder as it was built"
        )
    return how


def missing(cell: Cell) -> str | None:
    """Why the cell cannot be timed here and now: no device, no graphs on it, or somebody else computes on it."""
    how = conditions(cell)
    if how.mode in GRAPHS and how.device.type != "cuda":
        return f"mode {how.mode} needs a CUDA device, and the cell runs on {how.device}"
    return needs_device(cell) or (None if how.shared else foreign(how.device))


def _precisions() -> tuple[str, str]:
    """Precision of float32 products and convolutions: "tf32", or anything else for IEEE."""
    if _one_switch_each():
        return _products().fp32_precision, _cudnn().conv.fp32_precision
    return _named(_products().allow_tf32), _named(_cudnn().allow_tf32)


def _set_precisions(precisions: tuple[str, str]) -> None:
    products, convolutions = precisions
    if _one_switch_each():
        _products().fp32_precision = products
        _cudnn().conv.fp32_precision = convolutions
    else:
        _products().allow_tf32 = products == "tf32"
        _cudnn().allow_tf32 = convolutions == "tf32"


def _one_switch_each() -> bool:
    # torch 2.9 has new switches, and complains where old and new ones are mixed
    return hasattr(_cudnn(), "conv")


def _named(tf32: bool) -> str:
    return "tf32" if tf32 else "ieee"


def _products() -> Any:
    return torch.backends.cuda.matmul


def _cudnn() -> Any:
    return torch.backends.cudnn

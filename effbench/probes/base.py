"""What probes share: what they are given, what they return, and how one is found by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch

from effbench.errors import InputError
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.study.cell import Cell


@dataclass(frozen=True)
class Measurement:
    """What a probe found.

    Attributes:
        samples: raw samples in base units.
        unit: of the samples.
        detail: whatever else belongs into the record (plain JSON).
        implementation: which implementation of each operator ran.
    """

    samples: Sequence[float]
    unit: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    implementation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a probe may use besides its cell.

    Attributes:
        work: folder for what a killed run should find again (checkpoints).
        inputs: where data lies.
        report: called as report(done=, total=, **shown) for the progress bar.
        cores: how many the probe may keep busy, the one that computes included.
    """

    work: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    report: Callable[..., None] = lambda **_: None
    cores: int = 1


class Probe(Protocol):
    """A module under effbench/probes with these names.

    Attributes:
        NAME: the module's.
        VERSION: raised when the same cell would give another number; old records are then measured anew.
        INSIDE: what a sample is, and of a time what is inside its clock.
    """

    NAME: str
    VERSION: str
    INSIDE: str

    def missing(self, cell: Cell) -> str | None:
        """What this machine lacks for the cell, or None."""

    def measure(self, cell: Cell, context: Context) -> Measurement: ...


def needs_device(cell: Cell) -> str | None:
    """Why the cell's device cannot be had here, or None."""
    if torch.device(cell.device).type == "cuda" and not torch.cuda.is_available():
        return f"needs {cell.device}, and this machine has no CUDA device"
    return None


def needs_nothing(cell: Cell) -> str | None:
    """For probes that run nothing on the cell's device."""
    return None


def load_probe(name: str) -> Probe:
    """The probe module called `name`; InputError when there is none."""
    try:
        return cast(Probe, importlib.import_module(f"effbench.probes.{name}"))
    except ModuleNotFoundError as error:
        raise InputError(f"no probe is called {name!r} ({error}); expected a module of effbench/probes") from error


def segmenter(cell: Cell, device: str | None = None) -> Segmenter:
    """The cell's model with fresh weights, on the cell's device and dtype."""
    with torch.device(device or cell.device):
        return build_segmenter(
            cell.encoder,
            cell.backbone,
            cell.decoder,
            cell.classes,
            cell.queries,
            backbone_settings=cell.backbone_settings,
            decoder_settings=cell.decoder_settings,
            **cell.settings,
            **cell.width,
        ).to(getattr(torch, cell.dtype))


def parse_size(size: str) -> tuple[int, int]:
    """ "HxW" as (H, W); InputError for anything else."""
    height, _, width = size.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) > 0 and int(width) > 0):
        raise InputError(f"size {size!r}, expected HxW in pixels, such as 1024x2048")
    return int(height), int(width)

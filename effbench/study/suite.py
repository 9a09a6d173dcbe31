"""A suite: a question, and the table of cells and probes that answers it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effbench.encoders.registry import setting_defaults
from effbench.errors import InputError
from effbench.study.cell import Cell, label


@dataclass(frozen=True)
class Task:
    """One probe on one cell.

    Attributes:
        cell, probe: what to measure, and the name of the probe.
        title: what the progress line calls it.
        alone: no other task may run meanwhile (timings), and all cores are its own.
        counts: it computes no numbers that a neighbour could disturb, so it may share its process with others.
        cores: how many it keeps busy where it has neighbours: one to compute, the others to load images ahead.
        inputs: paths that the probe reads; where data lies is no part of a cell's identity.
        skip: why this cannot be measured, or None.
    """

    cell: Cell
    probe: str
    title: str
    alone: bool = False
    counts: bool = False
    cores: int = 1
    inputs: Mapping[str, str] = field(default_factory=dict)
    skip: str | None = None


@dataclass(frozen=True)
class System:
    """A named encoder with its settings."""

    encoder: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """The system's name in tables."""
        return label(self.encoder, self.settings)

    def fields(self, width: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The system as fields of a Cell; of `width` those settings that the encoder has."""
        allowed = setting_defaults(self.encoder, self.settings)
        known = {name: value for name, value in (width or {}).items() if name in allowed}
        return {"encoder": self.encoder, "settings": self.settings, "width": known}


NARROW: Mapping[str, Any] = {"dim": 64, "mask_dim": 64, "heads": 4, "ffn_dim": 256, "d": (96, 96, 96)}
"""A width at which a small machine trains or times any encoder in little time; layers stay as published."""


@dataclass(frozen=True)
class Published:
    """A printed number that a row of the table answers to.

    Attributes:
        system, backbone: of the row in print, under our names.
        size: the input that the number was really counted or measured on.
        metric: name of what is printed, as `Column.printed` has it.
        value, source: the number, and where it stands.
    """

    system: str
    backbone: str
    size: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True)
class Column:
    """A column of a report's table, as data.

    Attributes:
        title: heading.
        probe: whose record fills it.
        value: "p50", "p90" or "mean" (of the samples), or a path in the record's detail ("all.pq").
        narrow: whether the record is of a cell with a `width`.
        size, backbone: the cell's, or None for any.
        conditions: the cell's (see `Cell.conditions`), or None for any.
        scale: factor from the record's unit to the column's.
        digits: after the decimal point.
        printed: metric of the published number that stands in the next column, or None.
        ratio: whether the ratio to the baseline stands in the next column.
    """

    title: str
    probe: str
    value: str
    narrow: bool = False
    size: str | None = None
    backbone: str | None = None
    conditions: str | None = None
    scale: float = 1.0
    digits: int = 1
    printed: str | None = None
    ratio: bool = False


@dataclass(frozen=True)
class TradeOff:
    """A figure of one column against others: titles of columns, and the axes' labels.

    Attributes:
        y: (column, label); its records are of the probe `quality`, whose intervals are drawn.
        x: column -> label, a panel each.
        caption: over the figure.
    """

    y: tuple[str, str]
    x: Mapping[str, str]
    caption: str


@dataclass(frozen=True)
class Savings:
    """A figure of how much of the multiply-accumulates that systems save against the baseline is saved in time.

    Attributes:
        macs: title of a column.
        times: title of a column of the same models at the same size -> what a panel calls it; each has its ratio.
        caption: over the figure.
    """

    macs: str
    times: Mapping[str, str]
    caption: str


@dataclass(frozen=True)
class Options:
    """What the user chose: profile, data root, image limit, a part of the systems, device (None: the profile's)."""

    profile: str | None = None
    data_root: Path | None = None
    limit: int | None = None
    systems: tuple[str, ...] = ()
    device: str | None = None


@dataclass(frozen=True)
class Ranking:
    """When systems may be ordered by their quality: when `strong` beats `plain` by more than seeds move either.

    Both are systems. A study in which it does not cannot tell encoders apart, whatever its numbers say.
    """

    strong: str
    plain: str


@dataclass(frozen=True)
class Plan:
    """What a suite runs for a profile: its tasks in order, and what the report says about it.

    Attributes:
        profile: folder name of its results.
        tasks: in order; those that need not run alone run side by side with their neighbours.
        notes: sentences that the report must carry.
        baseline: the system that ratios are taken to.
        columns, legend: the table, and what it shows in a sentence.
        figure, savings: of the table's columns, or None.
        ranking: what an order of the systems by quality takes, or None where none is asked for.
        device: cpu or cuda, whose results these are.
    """

    profile: str
    tasks: Sequence[Task]
    notes: Sequence[str]
    baseline: str
    columns: Sequence[Column]
    legend: str
    figure: TradeOff | None = None
    savings: Savings | None = None
    ranking: Ranking | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Suite:
    """`plan` makes the tasks; it raises InputError for options that the suite cannot serve.

    `remarks` are sentences on the published numbers that the report must carry beside them.
    """

    name: str
    question: str
    plan: Callable[[Options], Plan]
    published: Sequence[Published] = ()
    remarks: Sequence[str] = ()


def suites() -> dict[str, Suite]:
    """name -> suite, for every module of the suites folder that declares one."""
    package = importlib.import_module("effbench.suites")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        suite: Any = getattr(importlib.import_module(f"effbench.suites.{info.name}"), "SUITE", None)
        if suite is not None:
            found[suite.name] = suite
    return found


def find_suite(name: str) -> Suite:
    """The suite called `name`; InputError when there is none."""
    known = suites()
    if name not in known:
        raise InputError(f"no suite is called {name!r}; expected one of {', '.join(known)}")
    return known[name]

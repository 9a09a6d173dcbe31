"""The full profile of a suite: time, memory and energy of the encoders as the papers build them, at one paper's size.

No limit of time is kept: every number has the processes and samples that it takes to be believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from effbench.study.cell import Cell
from effbench.study.interleave import interleaved
from effbench.study.suite import Column, Savings, System, Task

PROCESSES, SAMPLES = 3, 22
"""Of a time: the samples of all processes together are enough for p90."""
PASSES = {"samples": 11}
"""Of the whole pass, with boundaries and without."""
LEGEND = (
    f"Encoder ms is the median of {PROCESSES} processes that take turns, of {SAMPLES} samples each, its p90 that of "
    f"all samples. The whole pass, from image to the answers of the three tasks, is the median of {PASSES['samples']} "
    "passes of one process. ms and MB are of a batch, J are per image and above those of the idle device."
)


@dataclass(frozen=True)
class Condition:
    """How cells are timed; its fields are those of a Cell, `options` its options tf32 and mode."""

    dtype: str = "float32"
    batch: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    def on(self, cell: Cell) -> Cell:
        """`cell` under this condition."""
        return replace(cell, dtype=self.dtype, batch=self.batch, options={**cell.options, **self.options})


CONDITIONS: Mapping[str, Mapping[str, Condition]] = {
    "cpu": {"float32": Condition()},
    "cuda": {
        "float32": Condition(),
        "tf32": Condition(options={"tf32": True}),
        "bfloat16": Condition("bfloat16"),
        "bfloat16, batch 8": Condition("bfloat16", batch=8),
    },
}
"""device -> what `Cell.conditions` calls it -> condition."""
ROUNDED: Mapping[str, Sequence[Condition]] = {
    "cpu": (Condition(), Condition("bfloat16")),
    "cuda": (
        Condition(),
        Condition(options={"tf32": True}),
        Condition("bfloat16"),
        Condition("float16"),
        Condition("bfloat16", options={"mode": "compile"}),
    ),
}
"""device -> conditions whose effect on the outputs is measured."""
ROUNDED_SIZE = "512x512"


def timing(systems: Sequence[System], paper: Mapping[str, Any], device: str) -> list[Task]:
    """Times of encoders in interleaved processes, then of whole passes by component, and their energy."""
    tasks = []
    for name, condition in CONDITIONS[device].items():
        cells = [condition.on(Cell(**system.fields(), **paper, device=device)) for system in systems]
        timed = [replace(cell, options={**cell.options, "samples": SAMPLES}) for cell in cells]
        for cell in interleaved(timed, PROCESSES):
            process = cell.options["replica"] + 1
            tasks.append(Task(cell, "latency", f"{cell.system} latency, {name}, process {process}", alone=True))
        for cell in cells:
            passes = replace(cell, options={**cell.options, **PASSES})
            tasks.append(Task(passes, "components", f"{cell.system} whole pass, {name}", alone=True))
        tasks += [Task(cell, "energy", f"{cell.system} energy, {name}", alone=True) for cell in cells]
    return tasks


def memory(systems: Sequence[System], paper: Mapping[str, Any], device: str) -> list[Task]:
    """Peak memory; on a GPU alone, since what neighbours leave free there decides what libraries take."""
    tasks = []
    for name, condition in CONDITIONS[device].items():
        cells = [condition.on(Cell(**system.fields(), **paper, device=device)) for system in systems]
        tasks += [Task(cell, "memory", f"{cell.system} memory, {name}", alone=device == "cuda") for cell in cells]
    return tasks


def precision(systems: Sequence[System], paper: Mapping[str, Any], device: str) -> list[Task]:
    """How far every condition moves an encoder's outputs; on a smaller image, since float64 takes its time."""
    tasks = []
    for condition in ROUNDED[device]:
        for system in systems:
            cell = condition.on(Cell(**system.fields(), **{**paper, "size": ROUNDED_SIZE}, device=device))
            tasks.append(Task(cell, "precision", f"{cell.system} precision, {cell.conditions}"))
    return tasks


def columns(size: str, backbone: str, device: str) -> list[Column]:
    """Of what `timing` and `memory` measure."""
    at: dict[str, Any] = {"size": size, "backbone": backbone}
    found = []
    for name in CONDITIONS[device]:
        how = {**at, "conditions": name}
        found += [
            Column(time_title(name), "latency", "p50", **how, scale=1e3, digits=_digits(device), ratio=True),
            Column(f"{time_title(name)}, p90", "latency", "p90", **how, scale=1e3, digits=_digits(device)),
            Column(f"whole pass ms, {name}", "components", "p50", **how, scale=1e3, digits=_digits(device), ratio=True),
            Column(f"encoder's peak MB, {name}", "memory", "components.encoder.own", **how, scale=1e-6, digits=0),
            Column(f"whole pass J, {name}", "energy", "mean", **how, digits=2),
        ]
    return found


def savings(macs: str, size: str, device: str) -> Savings:
    """The headline: how much of the multiply-accumulates in column `macs` that systems save is saved in time."""
    return Savings(
        macs=macs,
        times={time_title(name): f"{device}, {name}" for name in CONDITIONS[device]},
        caption=f"Encoders at {size} on ResNet-50's maps: median of {PROCESSES} processes that took turns; "
        "bars: lowest and highest",
    )


def time_title(conditions: str) -> str:
    """Heading of an encoder's times."""
    return f"encoder ms, {conditions}"


def _digits(device: str) -> int:
    return 0 if device == "cpu" else 2

"""What the encoders cost at Cityscapes' one size, beside what the papers print for it.

Without data it counts, which takes seconds; `full` times, too; with a data root it runs the whole path on the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import checked_root
from effbench.study.device import checked_device
from effbench.study.suite import Column, Options, Plan, Suite, System, Task
from effbench.suites import full, printed, smoke
from effbench.suites.systems import (
    BACKBONES,
    BASELINE,
    CITYSCAPES_CLASSES,
    QUERIES,
    TIMED_BACKBONE,
    chosen,
    counted,
    on_cpu,
    refuse_photos,
)

PAPER: dict[str, Any] = {
    "classes": CITYSCAPES_CLASSES,
    "queries": QUERIES,
    "dataset": "cityscapes",
    "size": printed.CITYSCAPES_SIZE,
}
NOTES = ("Costs alone: nothing was trained or timed. The smoke profile does that on photos, with a data root.",)
LEGEND = (
    f"Width 256, {CITYSCAPES_CLASSES} classes, {printed.CITYSCAPES_SIZE} (the validation set's size). GMACs in the "
    "papers' convention stand beside the GFLOPs in print, all of which are listed below."
)


def _columns(backbone: str) -> list[Column]:
    gmacs: dict[str, Any] = {"probe": "macs", "backbone": backbone, "scale": 1e-9, "digits": 2}
    return [
        Column(f"{backbone} encoder GMACs", value="papers.encoder", printed="gmacs_encoder", **gmacs),
        Column(f"{backbone} total GMACs", value="papers.total", printed="gmacs_total", **gmacs),
        Column(
            f"{backbone} encoder M parameters",
            probe="parameters",
            value="encoder",
            backbone=backbone,
            scale=1e-6,
            digits=2,
        ),
    ]


COLUMNS = [column for backbone in BACKBONES for column in _columns(backbone)]
FULL_NOTES = ("Costs alone, on random maps and images: nothing was trained.",)
FULL_LEGEND = (
    f"ResNet-50, width 256, {CITYSCAPES_CLASSES} classes, {printed.CITYSCAPES_SIZE}. GMACs in the papers' convention "
    f"stand beside the GFLOPs in print. {full.LEGEND}"
)


def plan(options: Options) -> Plan:
    """The tasks of a profile; without one, of `smoke` where a data root is given, else of `costs`."""
    profile = options.profile or ("smoke" if options.data_root else "costs")
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} of suite cityscapes; expected one of {', '.join(PROFILES)}")
    if profile != "smoke":
        refuse_photos(profile, options)
    if profile != "full":
        on_cpu(profile, options)
    return PROFILES[profile](chosen(options.systems, "cityscapes"), options)


def _costs(systems: list[System], options: Options) -> Plan:
    return Plan("costs", _counting(systems), NOTES, BASELINE.label, COLUMNS, LEGEND)


def _smoke(systems: list[System], options: Options) -> Plan:
    root = checked_root(options.data_root, "cityscapes", CITYSCAPES_CLASSES)
    return smoke.plan(systems, root, CITYSCAPES_CLASSES, options.limit)


def _full(systems: list[System], options: Options) -> Plan:
    device, paper = checked_device(options.device), {**PAPER, "backbone": TIMED_BACKBONE}
    return Plan(
        profile="full",
        tasks=[
            *_counting(systems),
            *full.timing(systems, paper, device),
            *full.memory(systems, paper, device),
            *full.precision(systems, paper, device),
        ],
        notes=FULL_NOTES,
        baseline=BASELINE.label,
        columns=[*_columns(TIMED_BACKBONE), *full.columns(PAPER["size"], TIMED_BACKBONE, device)],
        legend=FULL_LEGEND,
        device=device,
        savings=full.savings(_columns(TIMED_BACKBONE)[0].title, PAPER["size"], device),
    )


def _counting(systems: list[System]) -> list[Task]:
    tasks = []
    for backbone in BACKBONES:
        for system in counted(systems):
            task = partial(Task, Cell(**system.fields(), **PAPER, backbone=backbone), counts=True)
            name = f"{system.label} on {backbone}"
            tasks += [task(probe="macs", title=f"{name} MACs"), task(probe="parameters", title=f"{name} parameters")]
    return tasks


PROFILES: Mapping[str, Callable[[list[System], Options], Plan]] = {"costs": _costs, "smoke": _smoke, "full": _full}
SUITE = Suite(
    name="cityscapes",
    question="What does each encoder cost on Cityscapes, under the same decoder?",
    plan=plan,
    published=printed.CITYSCAPES,
    remarks=printed.CITYSCAPES_REMARKS,
)

"""What the encoders cost at Cityscapes' one size, beside what the papers print for it.

Without data it counts, which takes seconds; with a data root it runs the whole path on the photos.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import checked_root
from effbench.study.suite import Column, Options, Plan, Suite, System, Task
from effbench.suites import printed, smoke
from effbench.suites.systems import BACKBONES, BASELINE, CITYSCAPES_CLASSES, QUERIES, chosen, counted

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


def plan(options: Options) -> Plan:
    """The tasks of `costs`, or of `smoke` where a data root is given or asked for."""
    profile = options.profile or ("smoke" if options.data_root else "costs")
    if profile not in ("costs", "smoke"):
        raise InputError(f"profile {profile!r} of suite cityscapes; expected costs, or smoke with a data root")
    if profile == "costs" and (options.data_root is not None or options.limit is not None):
        raise InputError("profile costs needs no photos; leave --data-root and --limit out, or take profile smoke")
    systems = chosen(options.systems, "cityscapes")
    if profile == "smoke":
        return smoke.plan(
            systems,
            checked_root(options.data_root, "cityscapes", CITYSCAPES_CLASSES),
            CITYSCAPES_CLASSES,
            options.limit,
        )
    columns = [column for backbone in BACKBONES for column in _columns(backbone)]
    return Plan("costs", _costs(systems), NOTES, BASELINE.label, columns, LEGEND)


def _costs(systems: list[System]) -> list[Task]:
    tasks = []
    for backbone in BACKBONES:
        for system in counted(systems):
            task = partial(Task, Cell(**system.fields(), **PAPER, backbone=backbone), counts=True)
            name = f"{system.label} on {backbone}"
            tasks += [task(probe="macs", title=f"{name} MACs"), task(probe="parameters", title=f"{name} parameters")]
    return tasks


SUITE = Suite(
    name="cityscapes",
    question="What does each encoder cost on Cityscapes, under the same decoder?",
    plan=plan,
    published=printed.CITYSCAPES,
    remarks=printed.CITYSCAPES_REMARKS,
)

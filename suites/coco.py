"""The main suite: encoders under Mask2Former's decoder, on COCO's terms.

Costs are those of the models as the papers build them (width 256). Quality comes from narrow models that a CPU can
train in minutes on the embedded set, or, with a data root, from a smoke run on real photos.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import checked_root
from effbench.study.suite import NARROW, Column, Options, Plan, Savings, Suite, System, Task, TradeOff
from effbench.suites import printed, smoke
from effbench.suites.systems import (
    BACKBONES,
    BASELINE,
    COCO_CLASSES,
    NARROW_MODEL,
    QUERIES,
    chosen,
    counted,
)

MAC_SIZES = ("coco", printed.FIRST_30, printed.FIRST_100)
PAPER: dict[str, Any] = {"classes": COCO_CLASSES, "queries": QUERIES, "dataset": "coco"}
LATENCY: dict[str, Any] = {"backbone": "r50", "size": "512x512"}
LATENCY_SAMPLES = 11

EMBEDDED: dict[str, Any] = {"dataset": "embedded/mostly_base", "classes": 15, "size": "128x128"}
PARTS = {"base": 300, "context": 60, "twins": 60, "thin": 60}
"""Validation images of each part of the embedded set; the first is the one that systems are compared on."""
# Chosen on the embedded set's tune2017 split; val2017 was never used to choose anything. Most steps are in the warm
# start, which all systems share: a step there costs one training, a step of the recipe costs eight.
TRAINING = {"batch_size": 4, "crop": 96, "criterion": {"sampling": "dense"}}
WARM_START = {**TRAINING, "steps": 3000, "learning_rate": 1e-3, "seed": 1}
RECIPE = {**TRAINING, "steps": 600, "learning_rate": 1e-3, "warm_up": 50, "seed": 0}
INFERENCE = {"object_threshold": 0.4}

QUICK_NOTES = (
    "This profile proves that every encoder trains and gives a real panoptic quality. It ranks nothing that seeds do "
    "not separate: one seed was trained, on a small generated set, with narrow models.",
    "Costs at full width are of the models as the papers build them; quality and the figure are of the narrow models "
    "that were trained here, whose own costs stand beside it.",
)

GMACS: dict[str, Any] = {"probe": "macs", "scale": 1e-9, "digits": 2}
R50: dict[str, Any] = {"backbone": "r50", "size": printed.FIRST_30}
MS: dict[str, Any] = {"probe": "latency", "value": "p50", "scale": 1e3, "ratio": True}
NARROW_PQ: dict[str, Any] = {"probe": "quality", "narrow": True}
QUICK_COLUMNS = (
    Column("encoder GMACs", value="papers.encoder", **R50, printed="gmacs_encoder", **GMACS),
    Column("total GMACs", value="papers.total", **R50, printed="gmacs_total", **GMACS),
    Column("encoder M parameters", probe="parameters", value="encoder", scale=1e-6, digits=2),
    Column(f"encoder GMACs at {LATENCY['size']}", value="papers.encoder", **LATENCY, **GMACS),
    Column("encoder ms", digits=0, **MS),
    Column("narrow encoder GMACs", value="papers.encoder", narrow=True, **{**GMACS, "digits": 3}),
    Column("narrow encoder ms", narrow=True, **MS),
    Column("PQ", value="all.pq", **NARROW_PQ),
    Column("PQ things", value="things.pq", **NARROW_PQ),
    Column("PQ stuff", value="stuff.pq", **NARROW_PQ),
)
QUICK_LEGEND = (
    "Full width (ResNet-50, width 256): GMACs in the papers' convention at the papers' input (val2017's first 30 "
    "images: the total is their mean, the encoder the last one's), beside the GFLOPs that they print for it; encoder "
    f"ms is the median at {LATENCY['size']} on the CPU. "
    "Narrow (what was trained here, at 128x128): GMACs, median ms and panoptic quality in percent."
)
QUICK_FIGURE = TradeOff(
    y=("PQ", "PQ on the embedded validation set, %"),
    x={"narrow encoder GMACs": "encoder GMACs per image", "narrow encoder ms": "encoder ms per image (median, CPU)"},
    caption="Narrow models, one seed; bars: 95% bootstrap intervals over the images",
)
QUICK_SAVINGS = Savings(
    macs=f"encoder GMACs at {LATENCY['size']}",
    time="encoder ms",
    caption=f"Encoders at {LATENCY['size']} on ResNet-50's maps, CPU, one process per system:\n"
    "from run to run of one machine a point may move by tens of percent",
)


def plan(options: Options) -> Plan:
    """The tasks of `quick`, or of `smoke` where a data root is given or asked for."""
    profile = options.profile or ("smoke" if options.data_root else "quick")
    if profile not in ("quick", "smoke"):
        raise InputError(f"profile {profile!r} of suite coco; expected quick, or smoke with a data root")
    if profile == "quick" and options.data_root is not None:
        raise InputError("profile quick takes no --data-root: it generates its images; leave one of the two out")
    if profile == "quick" and options.limit is not None:
        raise InputError("--limit counts photos of a data root; expected --data-root with it")
    systems = chosen(options.systems, "coco")
    if profile == "smoke":
        return smoke.plan(systems, checked_root(options.data_root, "coco", COCO_CLASSES), COCO_CLASSES, options.limit)
    return Plan(
        profile="quick",
        tasks=_quick(systems),
        notes=QUICK_NOTES,
        baseline=BASELINE.label,
        columns=QUICK_COLUMNS,
        legend=QUICK_LEGEND,
        figure=QUICK_FIGURE,
        savings=QUICK_SAVINGS,
    )


def _quick(systems: list[System]) -> list[Task]:
    counting, timing, quality = [], [], []
    samples = {"samples": LATENCY_SAMPLES}
    training = {"recipe": RECIPE, "warm_start": WARM_START, "inference": INFERENCE, "parts": PARTS}
    for backbone in BACKBONES:
        for system in counted(systems):
            paper = partial(Cell, **system.fields(), **PAPER, backbone=backbone)
            name = f"{system.label} on {backbone}"
            counting += [Task(paper(size=size), "macs", f"{name} MACs at {size}", counts=True) for size in MAC_SIZES]
    for system in counted(systems):
        cell = Cell(**system.fields(), **PAPER, **LATENCY)
        counting.append(Task(cell, "parameters", f"{system.label} parameters", counts=True))
        counting.append(Task(cell, "macs", f"{system.label} MACs at {LATENCY['size']}", counts=True))
    for system in systems:
        paper = partial(Cell, **system.fields(), **PAPER, **LATENCY)
        narrow = partial(Cell, **system.fields(NARROW), **NARROW_MODEL, **EMBEDDED)
        name = system.label
        counting.append(Task(narrow(), "macs", f"{name} MACs, narrow", counts=True))
        timing.append(Task(paper(options=samples), "latency", f"{name} latency at {LATENCY['size']}", alone=True))
        timing.append(Task(narrow(options=samples), "latency", f"{name} latency, narrow", alone=True))
        quality.append(Task(narrow(options=training), "quality", f"{name} quality"))
    # The warm start is the same for all systems, so that any of them can stand for it: the baseline, always.
    shared = Cell(**BASELINE.fields(NARROW), **NARROW_MODEL, **EMBEDDED, options={"warm_start": WARM_START})
    return [Task(shared, "warm_start", "data and warm start"), *counting, *timing, *quality]


SUITE = Suite(
    name="coco",
    question="What does each encoder cost, and what quality does it give, under the same decoder?",
    plan=plan,
    published=printed.COCO,
    remarks=printed.COCO_REMARKS,
)

"""The main suite: encoders under Mask2Former's decoder, on COCO's terms.

Costs are those of the models as the papers build them (width 256). Quality comes from narrow models that a CPU can
train in minutes on the embedded set (`quick`, and with several seeds `full`), from larger ones that take a GPU
(`standard`), or, with a data root, from a smoke run on real photos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import checked_root
from effbench.study.device import checked_device
from effbench.study.suite import NARROW, Column, Options, Plan, Ranking, Savings, Suite, System, Task, TradeOff
from effbench.suites import full, printed, smoke, standard
from effbench.suites.systems import (
    BACKBONES,
    BASELINE,
    COCO_CLASSES,
    NARROW_MODEL,
    QUERIES,
    TIMED_BACKBONE,
    chosen,
    counted,
    on_cpu,
    refuse_photos,
)

MAC_SIZES = ("coco", printed.FIRST_30, printed.FIRST_100)
PAPER: dict[str, Any] = {"classes": COCO_CLASSES, "queries": QUERIES, "dataset": "coco"}
LATENCY: dict[str, Any] = {"backbone": TIMED_BACKBONE, "size": "512x512"}
LATENCY_SAMPLES = 11
FULL: dict[str, Any] = {"backbone": TIMED_BACKBONE, "size": "800x1088"}
"""A stored image of 480x640, as one in five of val2017 is, at 800/1333 and padded to 32."""
SEEDS = (0, 1, 2)

EMBEDDED: dict[str, Any] = {"dataset": "embedded/mostly_base", "classes": 15, "size": "128x128"}
PARTS = {"base": 300, "context": 60, "twins": 60, "thin": 60}
"""Validation images of each part of the embedded set; the first is the one that systems are compared on."""
# Chosen on the embedded set's tune2017 split; val2017 was never used to choose anything. Most steps are in the warm
# start, which all systems share: a step there costs one training, a step of the recipe costs eight.
TRAINING = {"batch_size": 4, "crop": 96, "criterion": {"sampling": "dense"}}
WARM_START = {**TRAINING, "steps": 3000, "learning_rate": 1e-3, "seed": 1}
RECIPE = {**TRAINING, "steps": 600, "learning_rate": 1e-3, "warm_up": 50, "seed": 0}
INFERENCE = {"object_threshold": 0.4}

PARTS_NOTE = (
    "Nothing was trained on the parts `twins` and `thin`, and the training's crops often miss the beacon of `context`: "
    "at this scale these numbers say that the parts are hard, and no more."
)
QUICK_NOTES = (
    "This profile proves that every encoder trains and gives a real panoptic quality. It ranks nothing that seeds do "
    "not separate: one seed was trained, on a small generated set, with narrow models.",
    "Costs at full width are of the models as the papers build them; quality and the figure are of the narrow models "
    "that were trained here, whose own costs stand beside it.",
    PARTS_NOTE,
)

GMACS: dict[str, Any] = {"probe": "macs", "scale": 1e-9, "digits": 2}
R50: dict[str, Any] = {"backbone": "r50", "size": printed.FIRST_30}
MS: dict[str, Any] = {"probe": "latency", "value": "p50", "scale": 1e3, "ratio": True}
NARROW_PQ: dict[str, Any] = {"probe": "quality", "narrow": True}
PAPER_COLUMNS = (
    Column("encoder GMACs", value="papers.encoder", **R50, printed="gmacs_encoder", **GMACS),
    Column("total GMACs", value="papers.total", **R50, printed="gmacs_total", **GMACS),
    Column("encoder M parameters", probe="parameters", value="encoder", scale=1e-6, digits=2),
)
PQ_COLUMNS = (
    Column("PQ", value="all.pq", **NARROW_PQ),
    Column("PQ things", value="things.pq", **NARROW_PQ),
    Column("PQ stuff", value="stuff.pq", **NARROW_PQ),
)
QUICK_COLUMNS = (
    *PAPER_COLUMNS,
    Column(f"encoder GMACs at {LATENCY['size']}", value="papers.encoder", **LATENCY, **GMACS),
    Column("encoder ms", digits=0, **MS),
    Column("narrow encoder GMACs", value="papers.encoder", narrow=True, **{**GMACS, "digits": 3}),
    Column("narrow encoder ms", narrow=True, **MS),
    *PQ_COLUMNS,
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
    times={"encoder ms": "cpu, float32"},
    caption=f"Encoders at {LATENCY['size']} on ResNet-50's maps, CPU, one process per system:\n"
    "from run to run of one machine a point may move by tens of percent",
)

FULL_NOTES = (
    f"Times, memory and energy are of the encoders as the papers build them, on random maps and images of "
    f"{FULL['size']}: the size at which 480x640, the most frequent of COCO val2017, reaches the model.",
    f"Quality is that of narrow models, trained on a small generated set with {len(SEEDS)} seeds each.",
    PARTS_NOTE,
)
FULL_MACS = Column(f"encoder GMACs at {FULL['size']}", value="papers.encoder", **FULL, **GMACS)
FULL_LEGEND = (
    "Full width (ResNet-50, width 256): GMACs in the papers' convention at the papers' input (val2017's first 30 "
    "images: the total is their mean, the encoder the last one's) beside the GFLOPs that they print for it, then our "
    f"GMACs at {FULL['size']}, where everything is measured. {full.LEGEND} PQ in percent, of narrow models, mean over "
    f"{len(SEEDS)} seeds."
)


def plan(options: Options) -> Plan:
    """The tasks of a profile; without one, of `smoke` where a data root is given, else of `quick`."""
    profile = options.profile or ("smoke" if options.data_root else "quick")
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} of suite coco; expected one of {', '.join(PROFILES)}")
    if profile != "smoke":
        refuse_photos(profile, options)
    if profile in ("quick", "smoke"):
        on_cpu(profile, options)
    return PROFILES[profile](chosen(options.systems, "coco"), options)


def _quick(systems: list[System], options: Options) -> Plan:
    timing, quality = [], []
    samples = {"samples": LATENCY_SAMPLES}
    for system in systems:
        paper = partial(Cell, **system.fields(), **PAPER, **LATENCY)
        narrow = partial(Cell, **system.fields(NARROW), **NARROW_MODEL, **EMBEDDED)
        name = system.label
        timing.append(Task(paper(options=samples), "latency", f"{name} latency at {LATENCY['size']}", alone=True))
        timing.append(Task(narrow(options=samples), "latency", f"{name} latency, narrow", alone=True))
        quality.append(Task(narrow(options=_training(RECIPE)), "quality", f"{name} quality"))
    counting = [*_counting(systems, LATENCY["size"]), *_narrow_counting(systems)]
    return Plan(
        profile="quick",
        tasks=[_warm_start("cpu"), *counting, *timing, *quality],
        notes=QUICK_NOTES,
        baseline=BASELINE.label,
        columns=QUICK_COLUMNS,
        legend=QUICK_LEGEND,
        figure=QUICK_FIGURE,
        savings=QUICK_SAVINGS,
    )


def _smoke(systems: list[System], options: Options) -> Plan:
    return smoke.plan(systems, checked_root(options.data_root, "coco", COCO_CLASSES), COCO_CLASSES, options.limit)


def _full(systems: list[System], options: Options) -> Plan:
    device = checked_device(options.device)
    paper = {**PAPER, **FULL}
    quality = []
    for seed in SEEDS:
        for system in systems:
            narrow = Cell(**system.fields(NARROW), **NARROW_MODEL, **EMBEDDED, device=device)
            cell = replace(narrow, options=_training({**RECIPE, "seed": seed}))
            quality.append(Task(cell, "quality", f"{system.label} quality, seed {seed}"))
    counting = [*_counting(systems, FULL["size"]), *_narrow_counting(systems)]
    timing, memory = full.timing(systems, paper, device), full.memory(systems, paper, device)
    precision = full.precision(systems, paper, device)
    return Plan(
        profile="full",
        tasks=[_warm_start(device), *counting, *timing, *memory, *precision, *quality],
        notes=FULL_NOTES,
        baseline=BASELINE.label,
        columns=[*PAPER_COLUMNS, FULL_MACS, *full.columns(**FULL, device=device), *PQ_COLUMNS],
        legend=FULL_LEGEND,
        savings=full.savings(FULL_MACS.title, FULL["size"], device),
        ranking=Ranking(strong=BASELINE.label, plain="fpn"),
        device=device,
    )


def _standard(systems: list[System], options: Options) -> Plan:
    return standard.plan(systems, standard.device_of(options))


def _counting(systems: list[System], timed_size: str) -> list[Task]:
    """Costs of the full-width models at the papers' inputs, and at the size at which they are timed."""
    tasks = []
    for backbone in BACKBONES:
        for system in counted(systems):
            paper = partial(Cell, **system.fields(), **PAPER, backbone=backbone)
            name = f"{system.label} on {backbone}"
            tasks += [Task(paper(size=size), "macs", f"{name} MACs at {size}", counts=True) for size in MAC_SIZES]
    for system in counted(systems):
        cell = Cell(**system.fields(), **PAPER, backbone=TIMED_BACKBONE, size=timed_size)
        tasks.append(Task(cell, "parameters", f"{system.label} parameters", counts=True))
        tasks.append(Task(cell, "macs", f"{system.label} MACs at {timed_size}", counts=True))
    return tasks


def _narrow_counting(systems: list[System]) -> list[Task]:
    cells = [Cell(**system.fields(NARROW), **NARROW_MODEL, **EMBEDDED) for system in systems]
    return [Task(cell, "macs", f"{cell.system} MACs, narrow", counts=True) for cell in cells]


def _training(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {"recipe": dict(recipe), "warm_start": WARM_START, "inference": INFERENCE, "parts": PARTS}


def _warm_start(device: str) -> Task:
    # It is the same for all systems, so that any of them can stand for it: the baseline, always.
    shared = Cell(**BASELINE.fields(NARROW), **NARROW_MODEL, **EMBEDDED, device=device)
    return Task(replace(shared, options={"warm_start": WARM_START}), "warm_start", "data and warm start")


PROFILES: Mapping[str, Callable[[list[System], Options], Plan]] = {
    "quick": _quick,
    "smoke": _smoke,
    "full": _full,
    "standard": _standard,
}
SUITE = Suite(
    name="coco",
    question="What does each encoder cost, and what quality does it give, under the same decoder?",
    plan=plan,
    published=printed.COCO,
    remarks=printed.COCO_REMARKS,
)

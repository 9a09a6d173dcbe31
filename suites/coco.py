"""The main suite: encoders under Mask2Former's decoder, on COCO's terms.

Costs are those of the models as the papers build them (ResNet-50, width 256). Quality comes from narrow models that
a CPU can train in minutes on the embedded set, or, with a data root, from a smoke run on real photos.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import identify
from effbench.study.suite import Column, Options, Plan, Published, Suite, System, Task, TradeOff

BASELINE = System("mask2former")

SYSTEMS = (
    BASELINE,
    System("proscale", {"p": (1, 1, 1)}),
    System("proscale", {"p": (3, 3, 3)}),
    System("fpn"),
)

# PRO-SCALE's R50 rows on COCO were counted on the first 30 images of val2017, the encoder on the last of them.
FIRST_30, TABLE_1 = "coco:first30", "PRO-SCALE, Table 1"
PUBLISHED = (
    Published("mask2former", "r50", FIRST_30, "gmacs_encoder", 135.00, TABLE_1),
    Published("mask2former", "r50", FIRST_30, "gmacs_total", 229.10, TABLE_1),
    Published("proscale(p=(1,1,1))", "r50", FIRST_30, "gmacs_encoder", 30.25, TABLE_1),
    Published("proscale(p=(1,1,1))", "r50", FIRST_30, "gmacs_total", 131.40, TABLE_1),
    Published("proscale(p=(3,3,3))", "r50", FIRST_30, "gmacs_encoder", 67.45, TABLE_1),
    Published("proscale(p=(3,3,3))", "r50", FIRST_30, "gmacs_total", 166.10, TABLE_1),
)
MAC_SIZES = ("coco", FIRST_30)

PAPER: dict[str, Any] = {"backbone": "r50", "classes": 153, "queries": 100, "dataset": "coco"}
LATENCY_SIZE = "512x512"
LATENCY_SAMPLES = 15

# A model that trains in a minute or two on one core.
NARROW = {"dim": 64, "mask_dim": 64, "heads": 4, "ffn_dim": 256}
NARROW_DECODER = {"dim": 64, "heads": 8, "ffn_dim": 256, "layers": 3}
NARROW_MODEL: dict[str, Any] = {"backbone": "resnet_mini", "queries": 20, "decoder_settings": NARROW_DECODER}
EMBEDDED: dict[str, Any] = {"dataset": "embedded/base", "classes": 15, "size": "128x128"}
# Chosen on the embedded set's tune2017 split; val2017 was never used to choose anything.
TRAINING = {"batch_size": 4, "crop": 96, "criterion": {"sampling": "dense"}}
WARM_START = {**TRAINING, "steps": 2000, "learning_rate": 1e-3, "seed": 1}
RECIPE = {**TRAINING, "steps": 1000, "learning_rate": 5e-4, "warm_up": 50, "seed": 0}
INFERENCE = {"object_threshold": 0.4}

TRUTH_IMAGES = 100
SMOKE_TRAINING = {
    "recipe": {"steps": 20, "batch_size": 2, "crop": 512, "learning_rate": 1e-4, "warm_up": 5, "pixel_weight": 0.0},
    "inference": {"short": 512, "longest": 853, "object_threshold": 0.0},
}

QUICK_NOTES = (
    "This profile proves that every encoder trains and gives a real panoptic quality. It ranks nothing that seeds do "
    "not separate: one seed was trained, on a small generated set, with narrow models.",
    "Costs at full width are of the models as the papers build them; quality and the figure are of the narrow models "
    "that were trained here, whose own costs stand beside it.",
)
SMOKE_NOTES = (
    "*Smoke*: this run proves that the path works on real photos. Its quality is that of a few training steps and "
    "says nothing about any encoder.",
)


GMACS: dict[str, Any] = {"probe": "macs", "scale": 1e-9, "digits": 2}
MS: dict[str, Any] = {"probe": "latency", "value": "p50", "scale": 1e3, "ratio": True}
NARROW_PQ: dict[str, Any] = {"probe": "quality", "narrow": True}
QUICK_COLUMNS = (
    Column("encoder GMACs", value="papers.encoder", size=FIRST_30, printed="gmacs_encoder", **GMACS),
    Column("total GMACs", value="papers.total", size=FIRST_30, printed="gmacs_total", **GMACS),
    Column("encoder M parameters", probe="parameters", value="encoder", scale=1e-6, digits=2),
    Column("encoder ms", digits=0, **MS),
    Column("narrow encoder GMACs", value="papers.encoder", narrow=True, **{**GMACS, "digits": 3}),
    Column("narrow encoder ms", narrow=True, **MS),
    Column("PQ", value="all.pq", **NARROW_PQ),
    Column("PQ things", value="things.pq", **NARROW_PQ),
    Column("PQ stuff", value="stuff.pq", **NARROW_PQ),
)
QUICK_LEGEND = (
    "Full width (ResNet-50, width 256): GMACs in the papers' convention at the papers' input, beside the GFLOPs that "
    f"they print; encoder ms is the median at {LATENCY_SIZE} on the CPU. Narrow (what was trained here, at 128x128): "
    "GMACs, median ms and panoptic quality in percent."
)
QUICK_FIGURE = TradeOff(
    y=("PQ", "PQ on the embedded validation set, %"),
    x={"narrow encoder GMACs": "encoder GMACs per image", "narrow encoder ms": "encoder ms per image (median, CPU)"},
    caption="Narrow models, one seed; bars: 95% bootstrap intervals over the images",
)
SMOKE_COLUMNS = (
    Column("encoder GMACs", value="papers.encoder", **GMACS),
    Column("total GMACs", value="papers.total", **GMACS),
    Column("encoder ms", digits=0, **MS),
    Column("PQ (smoke)", value="all.pq", digits=2, **NARROW_PQ),
    Column("PQ things (smoke)", value="things.pq", digits=2, **NARROW_PQ),
    Column("PQ stuff (smoke)", value="stuff.pq", digits=2, **NARROW_PQ),
)
SMOKE_LEGEND = (
    "Full width (ResNet-50, width 256) on the data root's photos at 800/1333: GMACs in the papers' convention, mean "
    "over all photos; encoder ms is the median over the timed ones on the CPU. The quality is a narrow model's after "
    "a few steps."
)


def plan(options: Options) -> Plan:
    """The tasks of `quick`, or of `smoke` where a data root is given."""
    profile = options.profile or ("smoke" if options.data_root else "quick")
    if profile not in ("quick", "smoke"):
        raise InputError(f"profile {profile!r} of suite coco; expected quick, or smoke with --data-root")
    if (profile == "smoke") != (options.data_root is not None):
        raise InputError("profile smoke needs --data-root, and quick takes none; give the one that belongs to it")
    if options.limit is not None and profile == "quick":
        raise InputError("--limit counts photos of a data root; expected --data-root with it")
    systems = _chosen(options.systems)
    if options.data_root is not None:
        tasks = _smoke(systems, options.data_root, options.limit or 8)
        return Plan("smoke", tasks, SMOKE_NOTES, BASELINE.label, SMOKE_COLUMNS, SMOKE_LEGEND)
    return Plan("quick", _quick(systems), QUICK_NOTES, BASELINE.label, QUICK_COLUMNS, QUICK_LEGEND, QUICK_FIGURE)


def _chosen(names: tuple[str, ...]) -> list[System]:
    known = {system.label: system for system in SYSTEMS}
    for name in names:
        if name not in known and name not in {system.encoder for system in SYSTEMS}:
            raise InputError(f"system {name!r} is not in suite coco; expected some of {', '.join(known)}")
    return [s for s in SYSTEMS if not names or s.label in names or s.encoder in names]


def _quick(systems: list[System]) -> list[Task]:
    counting, timing, quality = [], [], []
    samples = {"samples": LATENCY_SAMPLES}
    training = {"recipe": RECIPE, "warm_start": WARM_START, "inference": INFERENCE, "images": None}
    for system in systems:
        paper = partial(Cell, **system.fields(), **PAPER)
        narrow = partial(Cell, **system.fields(NARROW), **NARROW_MODEL, **EMBEDDED)
        name, at = system.label, LATENCY_SIZE
        counting += [Task(paper(size=size), "macs", f"{name} MACs at {size}", counts=True) for size in MAC_SIZES]
        counting.append(Task(narrow(), "macs", f"{name} MACs, narrow", counts=True))
        counting.append(Task(paper(size=at), "parameters", f"{name} parameters", counts=True))
        timing.append(Task(paper(size=at, options=samples), "latency", f"{name} latency at {at}", alone=True))
        timing.append(Task(narrow(options=samples), "latency", f"{name} latency, narrow", alone=True))
        quality.append(Task(narrow(options=training), "quality", f"{name} quality"))
    # The warm start is the same for all systems, so that any of them can stand for it: the baseline, always.
    shared = Cell(**BASELINE.fields(NARROW), **NARROW_MODEL, **EMBEDDED, options={"warm_start": WARM_START})
    return [Task(shared, "warm_start", "data and warm start"), *counting, *timing, *quality]


def _smoke(systems: list[System], data_root: Path, limit: int) -> list[Task]:
    data: dict[str, Any] = {"dataset": f"data-root {identify(data_root)}", "size": "data"}
    root = {"data_root": str(data_root.resolve())}
    paper = {**PAPER, **data}
    counting, timing, quality = [], [], []
    for system in systems:
        full = partial(Cell, **system.fields(), **paper)
        narrow = partial(Cell, **system.fields(NARROW), **NARROW_MODEL, **data, classes=PAPER["classes"])
        name, photos, training = system.label, {"images": 4, "samples": 12}, {**SMOKE_TRAINING, "images": limit}
        counting.append(Task(full(), "macs", f"{name} MACs", counts=True, inputs=root))
        timing.append(Task(full(options=photos), "latency", f"{name} latency", alone=True, inputs=root))
        quality.append(Task(narrow(options=training), "quality", f"{name} training and evaluation", inputs=root))
    cell = Cell(**BASELINE.fields(), **paper, options={"images": max(limit, TRUTH_IMAGES)})
    truth = Task(cell, "ground_truth", "ground truth against itself", inputs=root)
    return [*counting, truth, _panoptic_sample(data_root.resolve().parent), *timing, *quality]


def _panoptic_sample(parent: Path) -> Task:
    """panopticapi's two fully labelled images, where they lie beside the data root."""
    folder = parent / "panoptic_sample"
    cell = Cell(**BASELINE.fields(), **{**PAPER, "dataset": "panoptic_sample", "size": "data"})
    skip = None if folder.is_dir() else f"no folder {folder.name} beside the data root"
    inputs = {"panoptic_sample": str(folder)}
    return Task(cell, "ground_truth", "panoptic sample against itself", inputs=inputs, skip=skip)


SUITE = Suite(
    name="coco",
    question="What does each encoder cost, and what quality does it give, under the same decoder?",
    plan=plan,
    published=PUBLISHED,
)

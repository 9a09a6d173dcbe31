"""The smoke profile of a suite: its whole path on real photos, with a few training steps, which say nothing else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from effbench.study.cell import Cell
from effbench.study.data_root import DataRoot
from effbench.study.suite import NARROW, Column, Plan, System, Task
from effbench.suites.systems import BASELINE, NARROW_MODEL, QUERIES, counted

TRUTH_IMAGES = 100
IMAGES = 8
PHOTOS = {"images": 4, "samples": 12}
RECIPE = {"steps": 20, "batch_size": 2, "crop": 512, "learning_rate": 1e-4, "warm_up": 5, "pixel_weight": 0.0}

NOTES = (
    "*Smoke*: this run proves that the path works on real photos. Its quality is that of a few training steps and "
    "says nothing about any encoder.",
)
GMACS: dict[str, Any] = {"probe": "macs", "scale": 1e-9, "digits": 2}
NARROW_PQ: dict[str, Any] = {"probe": "quality", "narrow": True, "digits": 2}
COLUMNS = (
    Column("encoder GMACs", value="papers.encoder", **GMACS),
    Column("total GMACs", value="papers.total", **GMACS),
    Column("encoder ms", probe="latency", value="p50", scale=1e3, digits=0, ratio=True),
    Column("PQ (smoke)", value="all.pq", **NARROW_PQ),
    Column("PQ things (smoke)", value="things.pq", **NARROW_PQ),
    Column("PQ stuff (smoke)", value="stuff.pq", **NARROW_PQ),
)


def plan(systems: list[System], root: DataRoot, classes: int, limit: int | None) -> Plan:
    """Costs on the photos' own sizes, a short training, and the ground truth against itself."""
    inputs = {"data_root": str(root.path)}
    data: dict[str, Any] = {"dataset": f"data-root {root.id}", "size": "data", "classes": classes}
    training = {"recipe": RECIPE, "inference": inference(root), "images": limit or IMAGES}
    paper: dict[str, Any] = {**data, "backbone": "r50", "queries": QUERIES}
    counting = [
        Task(Cell(**system.fields(), **paper), "macs", f"{system.label} MACs", counts=True, inputs=inputs)
        for system in counted(systems)
    ]
    timing, quality = [], []
    for system in systems:
        full = partial(Cell, **system.fields(), **paper)
        narrow = Cell(**system.fields(NARROW), **{**NARROW_MODEL, **data}, options=training)
        timing.append(Task(full(options=PHOTOS), "latency", f"{system.label} latency", alone=True, inputs=inputs))
        quality.append(Task(narrow, "quality", f"{system.label} training and evaluation", inputs=inputs))
    cell = Cell(**BASELINE.fields(), **paper, options={"images": max(limit or IMAGES, TRUTH_IMAGES)})
    truth = Task(cell, "ground_truth", "ground truth against itself", inputs=inputs)
    tasks = [*counting, truth, _panoptic_sample(root.path.parent, paper), *timing, *quality]
    short, longest = root.test_size
    legend = (
        f"Full width (ResNet-50, width 256) on the data root's photos at {short}/{longest}: GMACs in the papers' "
        "convention, mean over all photos; encoder ms is the median over the timed ones on the CPU. The quality is a "
        "narrow model's after a few steps."
    )
    return Plan("smoke", tasks, NOTES, BASELINE.label, COLUMNS, legend)


def inference(root: DataRoot) -> dict[str, Any]:
    """At half the test size, so that a CPU is through in minutes."""
    short, longest = root.test_size
    return {"short": 512, "longest": longest * 512 // short, "object_threshold": 0.0}


def _panoptic_sample(parent: Path, paper: dict[str, Any]) -> Task:
    """panopticapi's two fully labelled images, where they lie beside the data root."""
    folder = parent / "panoptic_sample"
    cell = Cell(**BASELINE.fields(), **{**paper, "dataset": "panoptic_sample"})
    skip = None if folder.is_dir() else f"no folder {folder.name} beside the data root"
    inputs = {"panoptic_sample": str(folder)}
    return Task(cell, "ground_truth", "panoptic sample against itself", inputs=inputs, skip=skip)

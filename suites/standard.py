"""The standard profile: quality that may rank encoders, on a GPU, from tens of thousands of generated images.

256 px, bfloat16, three seeds, all parts of the embedded set: about half an hour of a large GPU by arithmetic. It can be
killed at any time and given again: trainings go on from their checkpoints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.device import checked_device
from effbench.study.interleave import interleaved
from effbench.study.suite import Column, Options, Plan, Ranking, Savings, System, Task, TradeOff
from effbench.suites.full import PROCESSES, SAMPLES
from effbench.suites.systems import BASELINE

SEEDS = (0, 1, 2)
WIDTH: dict[str, Any] = {"dim": 128, "mask_dim": 128, "heads": 8, "ffn_dim": 512, "d": (192, 192, 192)}
"""Half the papers' width, layers as published."""
MODEL: dict[str, Any] = {
    "backbone": "resnet18",
    "queries": 50,
    "decoder_settings": {"dim": 128, "heads": 8, "ffn_dim": 512, "layers": 6},
    "dataset": "embedded/mixed",
    "classes": 15,
    "size": "256x256",
}
PARTS = {"base": 1000, "context": 500, "twins": 500, "thin": 500}
"""Validation images of each part of the embedded set; the first is the one that systems are compared on."""
TRAINING = {"batch_size": 32, "crop": 256, "criterion": {"sampling": "dense"}, "precision": "bfloat16"}
WARM_START = {**TRAINING, "steps": 3000, "learning_rate": 5e-4, "seed": 100}
RECIPE = {**TRAINING, "steps": 1500, "learning_rate": 5e-4, "warm_up": 100}
TRAIN_IMAGES = 30_000
INFERENCE = {"object_threshold": 0.4}
CORES = 3
"""Of a training: one that computes and two that load images for it, so that five share a GPU beside 16 cores."""

ALL_CORES = 1024
"""More than a machine has: what generates the images may use them all."""

MACS, MS = "encoder GMACs", "encoder ms, bfloat16"
COLUMNS = (
    Column(MACS, "macs", "papers.encoder", narrow=True, scale=1e-9, digits=2),
    Column("encoder M parameters", "parameters", "encoder", narrow=True, scale=1e-6, digits=2),
    Column(MS, "latency", "p50", narrow=True, scale=1e3, digits=2, ratio=True),
    Column("PQ", "quality", "all.pq", narrow=True),
    Column("PQ things", "quality", "things.pq", narrow=True),
    Column("PQ stuff", "quality", "stuff.pq", narrow=True),
)
LEGEND = (
    "Half the papers' width on a ResNet-18, at 256x256: GMACs in the papers' convention, median ms of interleaved "
    f"processes in bfloat16, and panoptic quality in percent on the part `base`, mean over {len(SEEDS)} seeds."
)
NOTES = (
    f"Every system was trained in bfloat16 with {len(SEEDS)} seeds on {TRAIN_IMAGES:,} generated images, after a warm "
    "start of backbone and decoder that all share. The parts `context`, `twins` and `thin` are trained on, too.",
)
FIGURE = TradeOff(
    y=("PQ", "PQ on the embedded validation set's part base, %"),
    x={MACS: "encoder GMACs per image", MS: "encoder ms per image (median, bfloat16)"},
    caption=f"Mean over {len(SEEDS)} seeds; bars: lowest and highest",
)


def device_of(options: Options) -> str:
    """The device to train on; InputError on a CPU, unless the user insists."""
    device = checked_device(options.device)
    if device == "cpu" and options.device is None:
        raise InputError("profile standard needs a CUDA device; expected one, or --device cpu, which takes days")
    return device


def plan(systems: list[System], device: str) -> Plan:
    """Costs and times of the models that are trained, and their quality with every seed."""
    cells = [Cell(**system.fields(WIDTH), **MODEL, device=device) for system in systems]
    timed = [replace(cell, dtype="bfloat16", options={"samples": SAMPLES}) for cell in cells]
    training = {"warm_start": WARM_START, "inference": INFERENCE, "parts": PARTS, "train_images": TRAIN_IMAGES}
    shared = Cell(**BASELINE.fields(WIDTH), **MODEL, device=device)
    start = {"warm_start": WARM_START, "train_images": TRAIN_IMAGES, "parts": PARTS}
    tasks = [Task(replace(shared, options=start), "warm_start", "data and warm start", cores=ALL_CORES)]
    for cell in cells:
        counted = replace(cell, device="cpu")
        tasks.append(Task(counted, "macs", f"{cell.system} MACs", counts=True))
        tasks.append(Task(counted, "parameters", f"{cell.system} parameters", counts=True))
    for cell in interleaved(timed, PROCESSES):
        process = cell.options["replica"] + 1
        tasks.append(Task(cell, "latency", f"{cell.system} latency, process {process}", alone=True))
    for seed in SEEDS:
        for cell in cells:
            options = {**training, "recipe": {**RECIPE, "seed": seed}}
            trained = replace(cell, options=options)
            tasks.append(Task(trained, "quality", f"{cell.system} quality, seed {seed}", cores=CORES))
    return Plan(
        profile="standard",
        tasks=tasks,
        notes=NOTES,
        baseline=BASELINE.label,
        columns=COLUMNS,
        legend=LEGEND,
        figure=FIGURE,
        savings=Savings(
            MACS,
            {MS: f"{device}, bfloat16"},
            f"Encoders of half the papers' width at {MODEL['size']} on ResNet-18's maps: median of {PROCESSES} "
            "processes that took turns; bars: lowest and highest",
        ),
        ranking=Ranking(strong=BASELINE.label, plain="fpn"),
        device=device,
    )

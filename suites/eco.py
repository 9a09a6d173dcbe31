"""Early exit: ECO-M2F's three steps on the embedded set, what its gate buys, and what its printed costs imply.

Costs are those of the models as the papers build them. Quality comes from narrow models, trained from the warm start
that suite coco shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.suite import NARROW, Options, Plan, Suite, System, Task
from effbench.suites import printed
from effbench.suites.coco import EMBEDDED, INFERENCE, RECIPE, WARM_START
from effbench.suites.systems import CITYSCAPES_CLASSES, COCO_CLASSES, NARROW_MODEL, QUERIES, on_cpu, refuse_photos

M2F, LITE, PROSCALE = (System("early_exit", {"base": base}) for base in ("mask2former", "lite", "proscale"))
SYSTEMS = (M2F, LITE, PROSCALE)
SEEDS = (0, 1)
IMAGES = {"base": 300}
DERIVE_IMAGES = 1000
"""Training images of step B: enough for a linear gate of 64 inputs."""

BETAS = (0.0, 0.0005, 0.001, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1)
BETA = 0.003
"""Of the comparisons that change something else."""
KS = (6, 5, 4)
LEDGER_BETAS, LEDGER_IMAGES = (0.001, 0.005), 100
LOSSES = ("hard_ce", "u_ce", "soft_ce", "soft_mse")

COUNTED: Mapping[System, Mapping[str, tuple[int, ...]]] = {
    M2F: {"swin_t": (2, 3, 4, 5, 6), "r50": (2, 6), "swin_s": (2, 6), "swin_b": (2, 6)},
    LITE: {"swin_t": (2, 3, 4, 5), "swin_s": (2, 5), "swin_b": (2, 5)},
}
"""system -> backbone -> exits whose MACs are counted; between two of them they lie on a line."""
SIZES = {"cityscapes": (printed.CITYSCAPES_SIZE, CITYSCAPES_CLASSES), "coco": ("coco", COCO_CLASSES)}

NOTES = (
    f"Narrow models on a small generated set: {len(SEEDS)} seeds where seeds are compared, one elsewhere. What the "
    "gate is worth holds for this set; another may reward it more.",
    "Beta is in PQ from 0 to 1 per layer, as in the paper.",
)
LEGEND = "MACs of the models as the papers build them, in the papers' convention, at every exit."


def plan(options: Options) -> Plan:
    """The tasks of the one profile, `quick`."""
    profile = options.profile or "quick"
    if profile != "quick":
        raise InputError(f"profile {profile!r} of suite eco; expected quick")
    refuse_photos(profile, options)
    on_cpu(profile, options)
    systems = _chosen(options.systems)
    return Plan(profile, list(_tasks(systems)), NOTES, M2F.label, (), LEGEND)


def _chosen(names: tuple[str, ...]) -> list[System]:
    known = {system.label: system for system in SYSTEMS}
    for name in names:
        if name not in known:
            raise InputError(f"system {name!r} is not in suite eco; expected some of {', '.join(known)}")
    return [system for system in SYSTEMS if not names or system.label in names]


def _tasks(systems: list[System]) -> Iterator[Task]:
    shared = _narrow(M2F)
    yield Task(replace(shared, options={"warm_start": WARM_START}), "warm_start", "data and warm start")
    for system in systems:
        yield from _counting(system)
    for system in systems:
        yield from _step_a(system)
    if M2F in systems:
        yield from _alone()
    for system in systems:
        yield from _ledger(system)
    for system in systems:
        yield from _gates(system)


def _counting(system: System) -> Iterator[Task]:
    for backbone, exits in COUNTED.get(system, {}).items():
        for dataset, (size, classes) in SIZES.items():
            for layer in exits:
                cell = Cell(
                    **system.fields(),
                    backbone=backbone,
                    dataset=dataset,
                    size=size,
                    classes=classes,
                    queries=QUERIES,
                    options={"exit": layer},
                )
                yield Task(cell, "macs", f"{system.label} on {backbone}, {size}, MACs at exit {layer}", counts=True)
    narrow = _narrow(system)
    for layer in EXITS[system]:
        cell = replace(narrow, options={"exit": layer})
        yield Task(cell, "macs", f"{system.label}, narrow, MACs at exit {layer}", counts=True)


EXITS: Mapping[System, tuple[int, ...]] = {M2F: (2, 3, 4, 5, 6), LITE: (2, 3, 4, 5), PROSCALE: (3, 6, 7, 8, 9)}
"""The bases' own, which a test holds against the encoders."""


def _alone() -> Iterator[Task]:
    """Models that are trained with fewer layers and have no exits: the paper's M2F_i."""
    for layers in (2, 3, 4, 5, 6):
        system = System("mask2former", {"layers": layers})
        options = {"recipe": RECIPE, "warm_start": WARM_START, "inference": INFERENCE, "parts": IMAGES}
        cell = replace(_narrow(system), options=options)
        yield Task(cell, "quality", f"mask2former with {layers} layers, quality")


def _step_a(system: System) -> Iterator[Task]:
    kinds = ("weighted", "uniform", "last") if system == M2F else ("weighted",)
    for kind in kinds:
        for seed in SEEDS if system == M2F else SEEDS[:1]:
            cell = _trained(system, kind, seed)
            yield Task(cell, "exits", f"{system.label} trained for its exits ({kind}), seed {seed}")
    yield Task(_trained(system, "weighted", SEEDS[0]), "derivation", f"{system.label}, step B")


def _gates(system: System) -> Iterator[Task]:
    recipes: list[dict[str, Any]] = [{"beta": beta} for beta in BETAS]
    if system == M2F:
        recipes += [{"beta": BETA, "k": k} for k in KS[1:]]
        recipes += [{"beta": BETA, "loss": loss} for loss in LOSSES[1:]]
    cell = _trained(system, "weighted", SEEDS[0])
    for recipe in recipes:
        said = ", ".join(f"{name} {value}" for name, value in recipe.items())
        gate = replace(cell, options={**cell.options, "gate": recipe})
        yield Task(gate, "gate", f"{system.label} gate, {said}", counts=True)


def _ledger(system: System) -> Iterator[Task]:
    cell = _trained(system, "weighted", SEEDS[0])
    for beta in LEDGER_BETAS:
        options = {**cell.options, "gate": {"beta": beta}, "ledger_images": LEDGER_IMAGES}
        yield Task(replace(cell, options=options), "ledger", f"{system.label} ledger, beta {beta}", alone=True)


def _narrow(system: System) -> Cell:
    return Cell(**system.fields(NARROW), **NARROW_MODEL, **EMBEDDED)


def _trained(system: System, kind: str, seed: int) -> Cell:
    options = {
        "recipe": {**RECIPE, "seed": seed, "exit_loss": kind},
        "warm_start": WARM_START,
        "inference": INFERENCE,
        "parts": IMAGES,
        "derive_images": DERIVE_IMAGES,
    }
    return replace(_narrow(system), options=options)


SUITE = Suite(
    name="eco",
    question="What does leaving the encoder early cost in quality, and what is a gate worth that chooses where?",
    plan=plan,
    published=printed.GATED,
    remarks=printed.GATED_REMARKS,
)

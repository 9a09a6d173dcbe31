"""Early exit: ECO-M2F's three steps, what its gate buys, and what its printed costs imply.

Costs are those of the models as the papers build them. Quality comes from narrow models, trained from the warm start
that suite coco shares, and for longer than there: only then do layers rely on each other, so that an exit that was not
trained for is a bad one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.data_root import checked_root, dataset_of
from effbench.study.suite import Options, Plan, Suite, System, Task
from effbench.suites import printed, smoke
from effbench.suites.coco import EMBEDDED, INFERENCE, TRAINING, WARM_START
from effbench.suites.eco_study import Gates, Study
from effbench.suites.systems import CITYSCAPES_CLASSES, COCO_CLASSES, QUERIES, on_cpu, refuse_photos

M2F, LITE, PROSCALE = (System("early_exit", {"base": base}) for base in ("mask2former", "lite", "proscale"))
SYSTEMS = (M2F, LITE, PROSCALE)
EXITS: Mapping[System, tuple[int, ...]] = {M2F: (2, 3, 4, 5, 6), LITE: (2, 3, 4, 5), PROSCALE: (3, 6, 7, 8, 9)}
"""The bases' own, which a test holds against the encoders."""

SEEDS = (0, 1)
IMAGES = {"base": 300}
DERIVE_IMAGES = 1000
"""Training images of step B: enough for a linear gate of 64 inputs."""
RECIPE = {**TRAINING, "steps": 2000, "learning_rate": 1e-3, "warm_up": 50}
KINDS = ("weighted", "uniform", "last")

BETAS = (0.0, 0.0005, 0.001, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1)
BETA = 0.0005
"""Of the comparisons that change something else, and of the images that are shown: the paper's for COCO."""
KS = (5, 4)
LOSSES = ("u_ce", "soft_ce", "soft_mse")
PAPER_BETAS = (0.0005, 0.003)
"""For COCO and for Cityscapes."""
LEDGER_IMAGES, LEDGER_PROCESSES = 100, 3
PHOTO_BETAS, PHOTO_IMAGES = (0.0, 0.01), 8

COUNTED: Mapping[System, Mapping[str, tuple[int, ...]]] = {
    M2F: {"swin_t": (2, 3, 4, 5, 6), "r50": (2, 6), "swin_s": (2, 6), "swin_b": (2, 6)},
    LITE: {"swin_t": (2, 3, 4, 5), "swin_s": (2, 5), "swin_b": (2, 5)},
}
"""system -> backbone -> exits whose MACs are counted; between two of them they lie on a line."""
SIZES = {"cityscapes": (printed.CITYSCAPES_SIZE, CITYSCAPES_CLASSES), "coco": ("coco", COCO_CLASSES)}
CLASSES = {"cityscapes": CITYSCAPES_CLASSES, "coco": COCO_CLASSES}

NOTES = (
    f"Narrow models on a small generated set: {len(SEEDS)} seeds where seeds are compared, one elsewhere. What the "
    "gate is worth holds for this set; another may reward it more.",
    "Beta is in PQ from 0 to 1 per layer, as in the paper.",
)
LEGEND = "MACs of the models as the papers build them, in the papers' convention, at every exit."


def plan(options: Options) -> Plan:
    """The tasks of a profile: `quick`, or `smoke` for photos."""
    profile = options.profile or ("smoke" if options.data_root else "quick")
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} of suite eco; expected one of {', '.join(PROFILES)}")
    on_cpu(profile, options)
    known = {system.label: system for system in SYSTEMS}
    for name in options.systems:
        if name not in known:
            raise InputError(f"system {name!r} is not in suite eco; expected some of {', '.join(known)}")
    chosen = [system for system in SYSTEMS if not options.systems or system.label in options.systems]
    return PROFILES[profile](chosen, options)


def _quick(systems: list[System], options: Options) -> Plan:
    refuse_photos("quick", options)
    study = Study(
        data=EMBEDDED,
        options={
            "warm_start": WARM_START,
            "inference": INFERENCE,
            "parts": IMAGES,
            "derive_images": DERIVE_IMAGES,
        },
        recipe=RECIPE,
        kinds=KINDS,
        seeds=SEEDS,
        gates={system: _gates(system) for system in systems},
        exits={M2F: EXITS[M2F]} if M2F in systems else {},
        ledger=(LEDGER_IMAGES, LEDGER_PROCESSES),
    )
    start = Task(replace(study.narrow(M2F), options={"warm_start": WARM_START}), "warm_start", "data and warm start")
    alone = _alone(study) if M2F in systems else ()
    tasks = [start, *_counting(systems), *alone, *study.tasks({system: EXITS[system] for system in systems})]
    return Plan("quick", tasks, NOTES, systems[0].label, (), LEGEND)


def _smoke(systems: list[System], options: Options) -> Plan:
    """The three steps on photos, with a few training steps."""
    dataset = dataset_of(options.data_root)
    root = checked_root(options.data_root, dataset, CLASSES[dataset])
    images = options.limit or PHOTO_IMAGES
    gates = [{"beta": beta} for beta in PHOTO_BETAS]
    study = Study(
        data={"dataset": f"data-root {root.id}", "size": "data", "classes": CLASSES[dataset]},
        options={"inference": smoke.inference(root), "images": images, "derive_images": PHOTO_IMAGES},
        recipe=smoke.RECIPE,
        kinds=KINDS[:1],
        seeds=SEEDS[:1],
        gates={system: Gates(gates, gates[:1], gates[0], gates[:1]) for system in systems},
        exits={},
        ledger=(images, 1),
        inputs={"data_root": str(root.path)},
    )
    return Plan("smoke", list(study.tasks({})), smoke.NOTES, systems[0].label, (), LEGEND)


def _gates(system: System) -> Gates:
    """Of every beta; of Mask2Former's also those of fewer exits and other losses, all of which are scored in full."""
    betas: list[dict[str, Any]] = [{"beta": beta} for beta in BETAS]
    timed = [{"beta": beta} for beta in PAPER_BETAS]
    if system != M2F:
        return Gates(betas, timed, {"beta": BETA}, timed)
    trained = [*betas, *({"beta": BETA, "k": k} for k in KS), *({"beta": BETA, "loss": loss} for loss in LOSSES)]
    return Gates(trained, trained, {"beta": BETA}, timed)


def _counting(systems: list[System]) -> Iterator[Task]:
    for system in systems:
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


def _alone(study: Study) -> Iterator[Task]:
    """Models that are trained with fewer layers and have no exits: the paper's M2F_i."""
    for layers in EXITS[M2F]:
        system = System("mask2former", {"layers": layers})
        cell = replace(study.narrow(system), options={**study.options, "recipe": {**RECIPE, "seed": SEEDS[0]}})
        yield Task(cell, "quality", f"mask2former with {layers} layers, quality")


PROFILES: Mapping[str, Callable[[list[System], Options], Plan]] = {"quick": _quick, "smoke": _smoke}
SUITE = Suite(
    name="eco",
    question="What does leaving the encoder early cost in quality, and what is a gate worth that chooses where?",
    plan=plan,
    published=printed.GATED,
    remarks=printed.GATED_REMARKS,
)

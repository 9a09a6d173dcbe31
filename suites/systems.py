"""The encoders that stand under Mask2Former's decoder, and how wide they are, for every suite that compares them."""

from __future__ import annotations

from typing import Any

from effbench.errors import InputError
from effbench.study.suite import Options, System

BASELINE = System("mask2former")

WITHOUT_RES2 = System("mask2former", {"res2": False, "embedding": "none"})
LITE, LITE_LPE = System("lite"), System("lite", {"embedding": "max_pool"})
RT, RT_NO_CONV = System("rt"), System("rt", {"embedding": "none"})
RT_FUSED, RT_FUSED_NO_CONV = System("rt", {"fused": True}), System("rt", {"fused": True, "embedding": "none"})
P111, P222, P333 = (System("proscale", {"p": (p, p, p)}) for p in (1, 2, 3))

# The longest trainings first: two run side by side, and so end together.
COUNTED = (
    BASELINE,
    WITHOUT_RES2,
    P333,
    P222,
    P111,
    LITE,
    LITE_LPE,
    RT,
    RT_FUSED,
    RT_NO_CONV,
    RT_FUSED_NO_CONV,
    System("convnext_unet"),
    System("fpn"),
)
SYSTEMS = tuple(s for s in COUNTED if s not in (P222, LITE_LPE, RT_FUSED, RT_NO_CONV, RT_FUSED_NO_CONV))
"""Timed and trained. The others are only counted, because papers print them or may mean them."""

BACKBONES = ("r50", "swin_t")
TIMED_BACKBONE = "r50"
QUERIES = 100
COCO_CLASSES, CITYSCAPES_CLASSES = 133, 19

# Around an encoder of NARROW's width: a model that trains in a minute or two on one core.
NARROW_DECODER = {"dim": 64, "heads": 8, "ffn_dim": 256, "layers": 3}
NARROW_MODEL: dict[str, Any] = {"backbone": "resnet_mini", "queries": 20, "decoder_settings": NARROW_DECODER}


def chosen(names: tuple[str, ...], suite: str) -> list[System]:
    """The systems that the user named, all without a name; InputError for one that the suite does not have."""
    known = {system.label: system for system in SYSTEMS}
    for name in names:
        if name not in known and name not in {system.encoder for system in SYSTEMS}:
            raise InputError(f"system {name!r} is not in suite {suite}; expected some of {', '.join(known)}")
    encoders = set(names) - known.keys()  # "mask2former" is the baseline, not every system of that encoder
    return [s for s in SYSTEMS if not names or s.label in names or s.encoder in encoders]


def counted(systems: list[System]) -> list[System]:
    """The chosen systems, and those of the same encoders that are only counted."""
    encoders = {system.encoder for system in systems}
    return [s for s in COUNTED if s in systems or (s not in SYSTEMS and s.encoder in encoders)]


def refuse_photos(profile: str, options: Options) -> None:
    """InputError where photos are named to a profile that uses none."""
    if options.data_root is not None:
        raise InputError(f"profile {profile} takes no --data-root: it needs no photos; leave one of the two out")
    if options.limit is not None:
        raise InputError("--limit counts photos of a data root; expected --data-root with it")


def on_cpu(profile: str, options: Options) -> None:
    """InputError where another device is named to a profile that runs on the CPU alone."""
    if options.device not in (None, "cpu"):
        raise InputError(f"profile {profile} runs on the CPU, not on {options.device}; leave --device out")

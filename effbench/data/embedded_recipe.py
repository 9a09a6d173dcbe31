"""The embedded set's recipe as tables: what is drawn, how often and how large, with nothing hidden in code.

Rotation stays small and hues stay fixed so that minutes of training are enough. Each part beside `base` asks
for one thing that encoders may differ in, and is scored apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from effbench.data.embedded_categories import CATEGORIES, DARK, LIGHT, RED, STUFF, THINGS, Range, Stuff, Thing
from effbench.errors import InputError

REFERENCE_SIZE = 128
"""Image side in pixels that every length of the tables refers to; other sizes scale all lengths alike."""


@dataclass(frozen=True)
class Beacon:
    """A small target of two grey tones, far from the things whose class it tells."""

    core: float
    rim: float
    tells: Thing


@dataclass(frozen=True)
class Context:
    """Things that look alike; the one beacon in the image, drawn with equal chances, tells what they all are."""

    beacons: tuple[Beacon, ...]
    things_per_image: tuple[int, int]
    beacon_diameter: Range
    gap: float
    """Least distance between the discs around beacon and thing, as a share of the image side."""


@dataclass(frozen=True)
class Twins:
    """Groups of equal things side by side, each tucked behind an earlier one by a sliver that makes them touch."""

    groups_per_image: tuple[int, int]
    things_per_group: tuple[int, int]
    tuck: float
    """Share of a thing that its neighbour hides: least that counts as touching."""
    seam: Range
    """Tone of the line, 1 px wide, that separates neighbours, relative to their colour."""
    min_contact: float
    """Least length of that line."""


@dataclass(frozen=True)
class Part:
    """One part of the embedded set; lengths in pixels at REFERENCE_SIZE, hue/saturation/value in 0..1."""

    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]
    things_per_image: tuple[int, int]
    stuff_per_image: tuple[int, int]
    diameter: Range
    rotation_degrees: float
    min_area: float
    min_visible: float
    """Least visible share of a thing: the shape names the class, so it must stay recognisable."""
    hue_jitter: float
    thing_saturation: Range
    thing_value: Range
    stuff_saturation: Range
    stuff_value: Range
    stuff_contrast: Range
    noise: float
    stroke: Range | None = None
    """Line width of things that are outlines; None: things are solid."""
    context: Context | None = None
    """What is drawn in front of the things that are strewn over the image."""
    twins: Twins | None = None
    """What is drawn in place of the things that are strewn over the image."""


BASE = Part(
    things=THINGS,
    stuff=STUFF,
    things_per_image=(2, 6),
    stuff_per_image=(2, 3),
    diameter=(18.0, 48.0),
    rotation_degrees=20.0,
    min_area=30.0,
    min_visible=0.6,
    hue_jitter=0.02,
    thing_saturation=(0.55, 0.95),
    thing_value=(0.55, 0.95),
    stuff_saturation=(0.15, 0.45),
    stuff_value=(0.45, 0.90),
    stuff_contrast=(0.60, 0.82),
    noise=0.02,
)

PARTS = {
    "base": BASE,
    "context": replace(
        BASE,
        context=Context(
            beacons=(Beacon(core=0.98, rim=0.02, tells=LIGHT), Beacon(core=0.02, rim=0.98, tells=DARK)),
            things_per_image=(1, 2),
            beacon_diameter=(12.0, 15.0),
            gap=0.25,
        ),
    ),
    "twins": replace(
        BASE,
        diameter=(20.0, 36.0),
        min_visible=0.8,
        twins=Twins(
            groups_per_image=(1, 3),
            things_per_group=(2, 3),
            tuck=0.04,
            seam=(0.45, 0.65),
            min_contact=4.0,
        ),
    ),
    "thin": replace(
        BASE,
        # the other two shapes have no outline that could not be taken for a ring
        things=tuple(thing for thing in THINGS if thing.hue != RED),
        things_per_image=(4, 8),
        diameter=(17.0, 28.0),
        stroke=(2.0, 3.5),
        min_area=20.0,
        min_visible=0.8,
    ),
}

MIXES: Mapping[str, Mapping[str, float]] = {
    "mixed": {"base": 0.4, "context": 0.2, "twins": 0.2, "thin": 0.2},
    # for trainings of a few minutes, which the harder parts would take too much from; context has classes of its own
    "mostly_base": {"base": 0.9, "context": 0.1},
}
"""Sets that draw each image from one of the parts with these chances, to train one model for all of them."""

SPLIT_SEEDS = {"train2017": 7_301, "tune2017": 15_887, "val2017": 24_019}
"""Generator seed of each split. Settings are chosen on tune2017; val2017 is for final numbers alone."""

MIX_STREAM = 1
"""Sets the draw of the part apart from the draws of the scene."""


def shares(name: str) -> Mapping[str, float]:
    """Part -> share of the images of a part (all of them) or a mix; raises InputError for an unknown name."""
    if name not in PARTS and name not in MIXES:
        raise InputError(f"unknown part {name!r} of the embedded set; expected one of {', '.join([*PARTS, *MIXES])}")
    return MIXES.get(name, {name: 1.0})


def focus(part: str) -> frozenset[int]:
    """The contiguous categories that a part is about: its things, or those that only its context tells apart."""
    recipe = PARTS[part]
    about = [beacon.tells for beacon in recipe.context.beacons] if recipe.context else recipe.things
    return frozenset(CATEGORIES.index_of(thing.id) for thing in about)


def part_of(name: str, split_seed: int, index: int) -> str:
    """The part that scene `index` of a part or a mix is drawn from; raises InputError for an unknown name."""
    parts = shares(name)
    if name in parts:
        return name
    rng = np.random.default_rng([split_seed, index, MIX_STREAM])
    return str(rng.choice(list(parts), p=list(parts.values())))

"""The embedded set's recipe as tables: what is drawn, how often and how large, with nothing hidden in code.

Colour must not tell the class alone: things share a hue in pairs and the shape decides within a pair, stuff
is told by texture. Rotation stays small and hues stay fixed so that minutes of training are enough.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from effbench.data.coco_panoptic import Categories, Category
from effbench.errors import InputError

REFERENCE_SIZE = 128
"""Image side in pixels that every length of the tables refers to; other sizes scale all lengths alike."""


@dataclass(frozen=True)
class Thing:
    id: int
    shape: str
    hue: float
    diameter: tuple[float, float]


@dataclass(frozen=True)
class Stuff:
    id: int
    texture: str
    hue: float
    period: tuple[float, float]


@dataclass(frozen=True)
class Part:
    """One part of the embedded set; lengths in pixels at REFERENCE_SIZE, hue/saturation/value in 0..1."""

    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]
    things_per_image: tuple[int, int]
    stuff_per_image: tuple[int, int]
    rotation_degrees: float
    min_area: float
    min_visible: float
    """Least visible share of a thing: the shape names the class, so it must stay recognisable."""
    hue_jitter: float
    thing_saturation: tuple[float, float]
    thing_value: tuple[float, float]
    stuff_saturation: tuple[float, float]
    stuff_value: tuple[float, float]
    stuff_contrast: tuple[float, float]
    noise: float

    def categories(self) -> Categories:
        """Things first, then stuff; the ids have gaps as COCO's do, so that no reader may count on them."""
        named = [(row.id, row.shape, True) for row in self.things]
        named += [(row.id, row.texture, False) for row in self.stuff]
        return Categories(
            tuple(
                Category(id_, name, isthing, _palette(index, len(named)))
                for index, (id_, name, isthing) in enumerate(named)
            )
        )


def _palette(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.75, 0.95 if index % 2 else 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)


RED, YELLOW, GREEN, BLUE = 0.00, 0.14, 0.36, 0.62
TEAL, PURPLE, BROWN = 0.50, 0.80, 0.08
ANY_SIZE = (18.0, 48.0)

PARTS = {
    "base": Part(
        things=(
            # pairs that differ in outline, not in a corner: a few minutes teach no finer eye
            Thing(1, "disc", RED, ANY_SIZE),
            Thing(2, "star", RED, ANY_SIZE),
            Thing(3, "square", YELLOW, ANY_SIZE),
            Thing(4, "ring", YELLOW, ANY_SIZE),
            Thing(6, "triangle", GREEN, ANY_SIZE),
            Thing(7, "bar", GREEN, ANY_SIZE),
            Thing(8, "cross", BLUE, ANY_SIZE),
            Thing(9, "crescent", BLUE, ANY_SIZE),
        ),
        stuff=(
            Stuff(92, "rows", TEAL, (7.0, 11.0)),
            Stuff(93, "columns", TEAL, (7.0, 11.0)),
            Stuff(95, "checker", PURPLE, (10.0, 15.0)),
            Stuff(96, "dots", PURPLE, (8.0, 12.0)),
            Stuff(100, "clouds", BROWN, (18.0, 32.0)),
        ),
        things_per_image=(2, 6),
        stuff_per_image=(2, 3),
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
    ),
}

SPLIT_SEEDS = {"train2017": 7_301, "tune2017": 15_887, "val2017": 24_019}
"""Generator seed of each split. Settings are chosen on tune2017; val2017 is for final numbers alone."""


def find_part(name: str) -> Part:
    """The recipe of a part; raises InputError for an unknown name."""
    if name not in PARTS:
        raise InputError(f"unknown part {name!r} of the embedded set; expected one of {', '.join(PARTS)}")
    return PARTS[name]

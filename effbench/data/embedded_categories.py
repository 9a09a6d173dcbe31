"""The classes of the embedded set: one list for all parts, so that one model can be scored on each of them.

Colour must not tell the class alone: things share a hue in pairs and the shape decides within a pair, stuff
is told by texture.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

from effbench.data.coco_panoptic import Categories, Category

Range = tuple[float, float]


@dataclass(frozen=True)
class Thing:
    id: int
    name: str
    shape: str
    hue: float


@dataclass(frozen=True)
class Stuff:
    id: int
    texture: str
    hue: float
    period: Range


RED, YELLOW, GREEN, BLUE, PINK = 0.00, 0.14, 0.36, 0.62, 0.90
TEAL, PURPLE, BROWN = 0.50, 0.80, 0.08

THINGS = (
    # pairs that differ in outline, not in a corner: a few minutes teach no finer eye
    Thing(1, "disc", "disc", RED),
    Thing(2, "star", "star", RED),
    Thing(3, "square", "square", YELLOW),
    Thing(4, "ring", "ring", YELLOW),
    Thing(6, "triangle", "triangle", GREEN),
    Thing(7, "bar", "bar", GREEN),
    Thing(8, "cross", "cross", BLUE),
    Thing(9, "crescent", "crescent", BLUE),
)
# alike in all they show: no look at the thing itself tells which of the two it is
LIGHT = Thing(11, "light diamond", "diamond", PINK)
DARK = Thing(13, "dark diamond", "diamond", PINK)

STUFF = (
    Stuff(92, "rows", TEAL, (7.0, 11.0)),
    Stuff(93, "columns", TEAL, (7.0, 11.0)),
    Stuff(95, "checker", PURPLE, (10.0, 15.0)),
    Stuff(96, "dots", PURPLE, (8.0, 12.0)),
    Stuff(100, "clouds", BROWN, (18.0, 32.0)),
)


def _categories() -> Categories:
    named = [(row.id, row.name, True) for row in (*THINGS, LIGHT, DARK)]
    named += [(row.id, row.texture, False) for row in STUFF]
    return Categories(
        tuple(
            Category(id_, name, isthing, _palette(index, len(named)))
            for index, (id_, name, isthing) in enumerate(named)
        )
    )


def _palette(index: int, count: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.75, 0.95 if index % 2 else 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)


CATEGORIES = _categories()
"""Things first, then stuff, in every part; the ids have gaps as COCO's do, so that no reader may count on them."""

"""How things come into a scene: strewn over it, in touching groups, or told apart by a beacon far away.

Everything is placed from front to back, so that a thing with too little left to see is simply not drawn.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation

from effbench.data.embedded_categories import CATEGORIES, Range, Thing
from effbench.data.embedded_recipe import REFERENCE_SIZE, Context, Part, Twins
from effbench.data.embedded_shapes import OUTLINES, SHAPES, Floats, Mask

Layer = tuple[int, Mask]
"""Contiguous category and mask (size, size)."""


class Painting:
    """What is painted so far.

    canvas: float32 (size, size, 3) in 0..1. free: bool (size, size), where nothing stands in front yet.
    layers: the things that were put, in order. scale: pixels per pixel of the recipe's lengths.
    """

    def __init__(self, canvas: Floats, recipe: Part, rng: np.random.Generator) -> None:
        self.canvas, self.recipe, self.rng = canvas, recipe, rng
        self.size = len(canvas)
        self.scale = self.size / REFERENCE_SIZE
        self.free = np.ones((self.size, self.size), dtype=bool)
        self.layers: list[Layer] = []

    def shows(self, mask: Mask, whole_area: int) -> bool:
        """Whether enough of a thing is left to see; `whole_area` counts what is outside the image too."""
        area = mask.sum()
        return bool(area >= self.recipe.min_area * self.scale**2 and area >= self.recipe.min_visible * whole_area)

    def put(self, thing: Thing, mask: Mask, colour: Floats) -> None:
        self.free &= ~mask
        self.canvas[mask] = colour
        self.layers.append((CATEGORIES.index_of(thing.id), mask))

    def colour(self, thing: Thing) -> Floats:
        recipe = self.recipe
        return random_colour(thing.hue, recipe.thing_saturation, recipe.thing_value, recipe, self.rng)

    def draw_count(self, bounds: tuple[int, int]) -> int:
        return int(self.rng.integers(bounds[0], bounds[1] + 1))


@dataclass(frozen=True)
class Stamp:
    """A shape at its place, which may reach beyond the image; lengths in pixels."""

    box: Mask
    top: int
    left: int
    centre: tuple[float, float]
    radius: float

    @property
    def area(self) -> int:
        return int(self.box.sum())

    def moved(self, down: int, right: int) -> Stamp:
        centre = self.centre[0] + down, self.centre[1] + right
        return replace(self, top=self.top + down, left=self.left + right, centre=centre)

    def mask(self, size: int) -> Mask:
        """bool (size, size)."""
        mask = np.zeros((size, size), dtype=bool)
        y0, x0 = (min(max(start, 0), size) for start in (self.top, self.left))
        y1, x1 = (min(max(start + len(self.box), 0), size) for start in (self.top, self.left))
        mask[y0:y1, x0:x1] = self.box[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
        return mask


def paint_things(painting: Painting) -> None:
    """Puts all that the recipe asks for."""
    recipe = painting.recipe
    if recipe.context is not None:
        _paint_context(painting, recipe.context)
    if recipe.twins is not None:
        _paint_twins(painting, recipe.twins)
    else:
        _strew(painting)


def _strew(painting: Painting) -> None:
    wanted = painting.draw_count(painting.recipe.things_per_image)
    before = len(painting.layers)
    for _ in range(4 * wanted):
        if len(painting.layers) - before == wanted:
            break
        thing = _random_thing(painting)
        stamp = _random_stamp(thing, painting)
        mask = stamp.mask(painting.size) & painting.free
        colour = painting.colour(thing)
        if painting.shows(mask, stamp.area):
            painting.put(thing, mask, colour)


def _paint_context(painting: Painting, context: Context) -> None:
    """A beacon and, far from it, the things that it tells apart.

    The beacon is void: as a segment it would have a query of its own, and the decoder's attention between
    queries could carry its news to the things. Void, the news can come through the encoder's maps alone.
    Nothing but the beacon's tones and the things' category depends on which beacon is drawn, and core and rim
    have equal areas, so that not even the image's mean brightness tells it.
    """
    rng, size, free = painting.rng, painting.size, painting.free
    beacon = context.beacons[rng.integers(len(context.beacons))]
    radius = rng.uniform(*context.beacon_diameter) / 2 * painting.scale
    centre = rng.uniform(radius, size - radius, 2)
    y, x = (np.arange(size, dtype=np.float32) + 0.5 - position for position in centre)
    square = y[:, None] ** 2 + x[None] ** 2
    painting.canvas[square <= radius**2] = beacon.rim
    painting.canvas[square <= radius**2 / 2] = beacon.core
    free &= square > radius**2

    wanted = painting.draw_count(context.things_per_image)
    for _ in range(20 * wanted):
        if len(painting.layers) == wanted:
            break
        stamp = _random_stamp(beacon.tells, painting)
        mask = stamp.mask(size) & free
        colour = painting.colour(beacon.tells)
        gap = np.hypot(*(stamp.centre - centre)) - stamp.radius - radius
        if gap >= context.gap * size and painting.shows(mask, stamp.area):
            painting.put(beacon.tells, mask, colour)


def _paint_twins(painting: Painting, twins: Twins) -> None:
    wanted = painting.draw_count(twins.groups_per_image)
    groups = 0
    for _ in range(8 * wanted):
        if groups == wanted:
            break
        thing = _random_thing(painting)
        colour = painting.colour(thing)
        tone = np.float32(painting.rng.uniform(*twins.seam))
        group = _random_group(_random_stamp(thing, painting), painting, twins)
        if not group:
            continue
        groups += 1
        for mask, seam in group:
            painting.put(thing, mask, colour)
            painting.canvas[seam] = tone * colour


def _random_group(first: Stamp, painting: Painting, twins: Twins) -> list[tuple[Mask, Mask]]:
    """Mask and seam towards earlier ones of each thing of a group; empty if the group does not fit there."""
    size, scale = painting.size, painting.scale
    width = max(1, round(scale))
    taken = np.zeros_like(painting.free)
    group: list[tuple[Mask, Mask]] = []
    stamp = first
    for number in range(painting.draw_count(twins.things_per_group)):
        if number:
            stamp = _neighbour(stamp, taken, twins.tuck, painting.rng)
        mask = stamp.mask(size) & painting.free & ~taken
        seam = mask & binary_dilation(taken, iterations=width)
        if not painting.shows(mask, stamp.area) or (number and seam.sum() < twins.min_contact * scale * width):
            return []
        group.append((mask, seam))
        taken |= mask
    return group


def _neighbour(stamp: Stamp, taken: Mask, tuck: float, rng: np.random.Generator) -> Stamp:
    """The same shape beside `stamp`, moved in along a random direction until it touches what is taken."""
    angle = rng.uniform(0, 2 * np.pi)
    for distance in range(int(2 * stamp.radius) + 2, 0, -1):
        moved = stamp.moved(round(distance * np.sin(angle)), round(distance * np.cos(angle)))
        if (moved.mask(len(taken)) & taken).sum() >= tuck * stamp.area:
            return moved
    return stamp  # out of sight behind the other, which shows() refuses


def _random_thing(painting: Painting) -> Thing:
    things = painting.recipe.things
    return things[painting.rng.integers(len(things))]


def _random_stamp(thing: Thing, painting: Painting) -> Stamp:
    """The thing's shape in random size, rotation and place."""
    recipe, rng, size = painting.recipe, painting.rng, painting.size
    radius = rng.uniform(*recipe.diameter) / 2 * painting.scale
    angle = np.deg2rad(rng.uniform(-recipe.rotation_degrees, recipe.rotation_degrees))
    centre_y, centre_x = rng.uniform(0, size, 2)
    top, left = int(centre_y - radius) - 1, int(centre_x - radius) - 1
    side = int(2 * radius) + 4
    y = (np.arange(top, top + side, dtype=np.float32)[:, None] + 0.5 - centre_y) / radius
    x = (np.arange(left, left + side, dtype=np.float32)[None] + 0.5 - centre_x) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = cos * x + sin * y, cos * y - sin * x
    if recipe.stroke is None:
        box = SHAPES[thing.shape](u, v)
    else:
        box = OUTLINES[thing.shape](u, v, rng.uniform(*recipe.stroke) * painting.scale / radius)
    return Stamp(box, top, left, (centre_y, centre_x), radius)


def random_colour(hue: float, saturation: Range, value: Range, recipe: Part, rng: np.random.Generator) -> Floats:
    """RGB float32 (3,) in 0..1."""
    shifted = (hue + rng.uniform(-recipe.hue_jitter, recipe.hue_jitter)) % 1
    return np.array(colorsys.hsv_to_rgb(shifted, rng.uniform(*saturation), rng.uniform(*value)), dtype=np.float32)

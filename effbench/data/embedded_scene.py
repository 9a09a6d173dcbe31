"""One generated scene: stuff regions with smooth borders, and things in front, from a recipe and a seed."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from effbench.data.coco_panoptic import Segment
from effbench.data.embedded_recipe import REFERENCE_SIZE, Part, Thing, find_part
from effbench.data.embedded_shapes import SHAPES, Floats, Mask, smooth_fields, texture
from effbench.errors import InputError

Image = npt.NDArray[np.uint8]
IdMap = npt.NDArray[np.int32]
MIN_SIZE = 64


def generate(part: str, split_seed: int, index: int, size: int) -> tuple[Image, IdMap, list[Segment]]:
    """Scene `index` of a split; the same arguments give the same scene (with one version of numpy).

    Returns the image uint8 (H, W, 3), the id map int32 (H, W) with 0 = void, and its segments with
    contiguous categories; H = W = `size`. A stuff class that things leave too small becomes void.
    Raises InputError for an unknown part or a size below 64.
    """
    recipe = find_part(part)
    check_size(size)
    rng = np.random.default_rng([split_seed, index])
    scale = size / REFERENCE_SIZE
    canvas, layers = _stuff_layers(recipe, size, rng)
    free = np.ones((size, size), dtype=bool)
    layers = _thing_layers(recipe, size, canvas, free, rng) + [(k, mask & free) for k, mask in layers]

    id_map = np.zeros((size, size), np.int32)
    segments: list[Segment] = []
    for category, mask in layers:
        area = int(mask.sum())
        if area < recipe.min_area * scale**2:
            continue
        segment_id = _segment_id(len(segments))
        id_map[mask] = segment_id
        segments.append(Segment(segment_id, category, category < len(recipe.things), False, area))

    canvas += recipe.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return (canvas.clip(0, 1) * 255).astype(np.uint8), id_map, segments


def check_size(size: int) -> None:
    """Raises InputError for an image side (pixels) at which the smallest shapes cannot be told apart."""
    if size < MIN_SIZE:
        raise InputError(f"image size {size} px is too small; expected at least {MIN_SIZE} px to show shapes")


def _segment_id(number: int) -> int:
    # An odd factor keeps ids unique below 2**24 and spreads them over all three bytes of the PNG.
    return (number + 1) * 0x9E3779 % 2**24


def _stuff_layers(recipe: Part, size: int, rng: np.random.Generator) -> tuple[Floats, list[tuple[int, Mask]]]:
    low, high = recipe.stuff_per_image
    chosen = rng.choice(len(recipe.stuff), rng.integers(low, high + 1), replace=False)
    # Where one smooth random field exceeds the others, its class shows: regions with smooth borders.
    owner = smooth_fields(len(chosen), 4, size, rng).argmax(axis=0)
    canvas = np.zeros((size, size, 3), np.float32)
    layers = []
    for position, index in enumerate(chosen.tolist()):
        row = recipe.stuff[index]
        light = _colour(row.hue, recipe.stuff_saturation, recipe.stuff_value, recipe, rng)
        dark = light * np.float32(rng.uniform(*recipe.stuff_contrast))
        tone = texture(row.texture, size, rng.uniform(*row.period) * size / REFERENCE_SIZE, rng)
        mask = owner == position
        canvas[mask] = (dark + tone[..., None] * (light - dark) + np.zeros_like(canvas))[mask]
        layers.append((len(recipe.things) + index, mask))
    return canvas, layers


def _thing_layers(
    recipe: Part, size: int, canvas: Floats, free: Mask, rng: np.random.Generator
) -> list[tuple[int, Mask]]:
    """Places things from front to back, so that a thing with too little left to see is simply not drawn."""
    low, high = recipe.things_per_image
    wanted = int(rng.integers(low, high + 1))
    layers: list[tuple[int, Mask]] = []
    for _ in range(4 * wanted):
        if len(layers) == wanted:
            break
        category = int(rng.integers(len(recipe.things)))
        row = recipe.things[category]
        full, whole_area = _draw(row, recipe, size, rng)
        mask = full & free
        colour = _colour(row.hue, recipe.thing_saturation, recipe.thing_value, recipe, rng)
        area = mask.sum()
        if area < recipe.min_area * (size / REFERENCE_SIZE) ** 2 or area < recipe.min_visible * whole_area:
            continue
        free &= ~mask
        canvas[mask] = colour
        layers.append((category, mask))
    return layers


def _draw(row: Thing, recipe: Part, size: int, rng: np.random.Generator) -> tuple[Mask, int]:
    """Mask (size, size) of a thing at a random place, and its area with the part outside the image."""
    radius = rng.uniform(*row.diameter) / 2 * size / REFERENCE_SIZE
    angle = np.deg2rad(rng.uniform(-recipe.rotation_degrees, recipe.rotation_degrees))
    centre_y, centre_x = rng.uniform(0, size, 2)
    top, left = int(centre_y - radius) - 1, int(centre_x - radius) - 1
    side = int(2 * radius) + 4
    y = (np.arange(top, top + side, dtype=np.float32)[:, None] + 0.5 - centre_y) / radius
    x = (np.arange(left, left + side, dtype=np.float32)[None] + 0.5 - centre_x) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    box = SHAPES[row.shape](cos * x + sin * y, cos * y - sin * x)
    mask = np.zeros((size, size), dtype=bool)
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + side, size), min(left + side, size)
    mask[y0:y1, x0:x1] = box[y0 - top : y1 - top, x0 - left : x1 - left]
    return mask, int(box.sum())


def _colour(
    hue: float,
    saturation: tuple[float, float],
    value: tuple[float, float],
    recipe: Part,
    rng: np.random.Generator,
) -> Floats:
    shifted = (hue + rng.uniform(-recipe.hue_jitter, recipe.hue_jitter)) % 1
    return np.array(colorsys.hsv_to_rgb(shifted, rng.uniform(*saturation), rng.uniform(*value)), dtype=np.float32)

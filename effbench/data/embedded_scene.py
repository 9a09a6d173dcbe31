"""One generated scene: stuff regions with smooth borders, and things in front, from a recipe and a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from effbench.data.coco_panoptic import Segment
from effbench.data.embedded_categories import CATEGORIES
from effbench.data.embedded_recipe import PARTS, REFERENCE_SIZE, Part, part_of
from effbench.data.embedded_shapes import Floats, smooth_fields, texture
from effbench.data.embedded_things import Layer, Painting, paint_things, random_colour
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
    recipe = PARTS[part_of(part, split_seed, index)]
    check_size(size)
    rng = np.random.default_rng([split_seed, index])
    canvas, stuff = _stuff_layers(recipe, size, rng)
    painting = Painting(canvas, recipe, rng)
    paint_things(painting)

    id_map = np.zeros((size, size), np.int32)
    segments: list[Segment] = []
    for category, mask in painting.layers + [(category, mask & painting.free) for category, mask in stuff]:
        area = int(mask.sum())
        if area < recipe.min_area * painting.scale**2:
            continue
        segment_id = _segment_id(len(segments))
        id_map[mask] = segment_id
        segments.append(Segment(segment_id, category, CATEGORIES[category].isthing, False, area))

    canvas += recipe.noise * rng.standard_normal(canvas.shape, dtype=np.float32)
    return (canvas.clip(0, 1) * 255).astype(np.uint8), id_map, segments


def check_size(size: int) -> None:
    """Raises InputError for an image side (pixels) at which the smallest shapes cannot be told apart."""
    if size < MIN_SIZE:
        raise InputError(f"image size {size} px is too small; expected at least {MIN_SIZE} px to show shapes")


def _segment_id(number: int) -> int:
    # An odd factor keeps ids unique below 2**24 and spreads them over all three bytes of the PNG.
    return (number + 1) * 0x9E3779 % 2**24


def _stuff_layers(recipe: Part, size: int, rng: np.random.Generator) -> tuple[Floats, list[Layer]]:
    low, high = recipe.stuff_per_image
    chosen = rng.choice(len(recipe.stuff), rng.integers(low, high + 1), replace=False)
    # Where one smooth random field exceeds the others, its class shows: regions with smooth borders.
    owner = smooth_fields(len(chosen), 4, size, rng).argmax(axis=0)
    canvas = np.zeros((size, size, 3), np.float32)
    layers = []
    for position, row in enumerate(recipe.stuff[index] for index in chosen):
        light = random_colour(row.hue, recipe.stuff_saturation, recipe.stuff_value, recipe, rng)
        dark = light * np.float32(rng.uniform(*recipe.stuff_contrast))
        tone = texture(row.texture, size, rng.uniform(*row.period) * size / REFERENCE_SIZE, rng)
        mask = owner == position
        canvas[mask] = (dark + tone[..., None] * (light - dark) + np.zeros_like(canvas))[mask]
        layers.append((CATEGORIES.index_of(row.id), mask))
    return canvas, layers

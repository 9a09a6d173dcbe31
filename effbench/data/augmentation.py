"""How training images vary: the recipes of Mask2Former's release, and a plain crop for small studies.

Every augmentation takes a sample, the side of the crop in pixels and a generator, and depends on these alone.
Sources: Mask2Former's dataset mappers and configs; detectron2's ResizeScale, FixedSizeCrop, ResizeShortestEdge and
RandomCrop; ColorAugSSDTransform of its PointRend project.

One thing differs from the release: a segment that the crop leaves empty is dropped, where the release keeps it as a
target with an empty mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.v2.functional import adjust_hue

from effbench.data.coco_panoptic import Sample
from effbench.data.transforms import random_crop, random_flip, resize_shortest, with_pixels
from effbench.errors import InputError

SCALES = (0.1, 2.0)
GREY = 128


def crop(sample: Sample, size: int, generator: torch.Generator) -> Sample:
    """A square crop at a random place, flipped or not; small images are padded as by `random_crop`."""
    return random_flip(random_crop(sample, size, generator), generator)


def large_scale_jitter(sample: Sample, size: int, generator: torch.Generator) -> Sample:
    """COCO's recipe (size 1024): flip, fit into a square of 0.1 to 2 times `size`, crop or pad to `size`.

    The aspect ratio stays. One draw places the crop along both axes. Smaller images are padded below and to the
    right: grey (128) in the image, void in the id map, so the padding is no target but is not left out of the loss.
    """
    sample = random_flip(sample, generator)
    ratio = size * _uniform(*SCALES, generator) / max(sample.id_map.shape)
    height, width = (max(1, round(side * ratio)) for side in sample.id_map.shape)
    sample = _resize(sample, (height, width))
    place = _uniform(0, 1, generator)
    top, left = (round(place * max(0, side - size)) for side in (height, width))
    rows, columns = slice(top, top + size), slice(left, left + size)
    padding = (0, max(0, size - width), 0, max(0, size - height))
    image = F.pad(sample.image[:, rows, columns], padding, value=GREY)
    return with_pixels(sample, image, F.pad(sample.id_map[rows, columns], padding))


def cityscapes(sample: Sample, size: int, generator: torch.Generator) -> Sample:
    """Cityscapes' recipe (size 512): shortest side of 1 to 4 times `size`, crop `size` x 2 `size`, colours, flip.

    The shortest side is one of 16 values, which are 512, 614, ..., 2048 at 512, the longer at most 8 times `size`.
    Images that are twice as wide as high are never padded; others are as by `random_crop`, black and void. The
    release's limit on a crop's largest category is 1.0 and so does nothing.
    """
    shorts = [int(tenths * 0.1 * 2 * size) for tenths in range(5, 21)]
    short = shorts[int(torch.randint(len(shorts), (), generator=generator))]
    height, width = sample.id_map.shape
    resized = _resize(sample, resize_shortest((height, width), short, 8 * size))
    cropped = random_crop(resized, (size, 2 * size), generator)
    return random_flip(replace(cropped, image=ssd_color_jitter(cropped.image, generator)), generator)


AUGMENTATIONS: dict[str, Callable[[Sample, int, torch.Generator], Sample]] = {
    "crop": crop,
    "large_scale_jitter": large_scale_jitter,
    "cityscapes": cityscapes,
}


def augmentation(name: str) -> Callable[[Sample, int, torch.Generator], Sample]:
    """The augmentation of that name. Raises InputError, with the names there are, for another."""
    if name not in AUGMENTATIONS:
        raise InputError(f"augmentation={name!r}; expected one of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def ssd_color_jitter(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation and hue of an image uint8 (3, H, W), each changed with probability one half.

    SSD's ranges: +-32 grey levels, factors of 0.5 to 1.5 on the values and on the saturation, +-0.1 turns of hue
    (any angle; the release draws from the steps of an 8-bit hue). Contrast comes second or last, by chance.
    """
    contrast, colours = (_scale, 0.5, 1.5), [(_saturate, 0.5, 1.5), (adjust_hue, -0.1, 0.1)]
    order = [contrast, *colours] if _coin(generator) else [*colours, contrast]
    for change, low, high in [(_brighten, -32, 32), *order]:
        if _coin(generator):
            image = change(image, _uniform(low, high, generator))
    return image


def _brighten(image: torch.Tensor, levels: float) -> torch.Tensor:
    return (image.float() + levels).clamp(0, 255).to(torch.uint8)


def _scale(image: torch.Tensor, factor: float) -> torch.Tensor:
    return (image.float() * factor).clamp(0, 255).to(torch.uint8)


def _saturate(image: torch.Tensor, factor: float) -> torch.Tensor:
    """HSV's saturation times `factor`, at most 1: the distances to the largest channel grow by as much."""
    wide = image.float()
    value = wide.amax(0)
    most = value / (value - wide.amin(0)).clamp(min=1e-6)
    return (value - (value - wide) * most.clamp(max=factor)).clamp(0, 255).to(torch.uint8)


def _resize(sample: Sample, hw: tuple[int, int]) -> Sample:
    """Image bilinearly and antialiased, id map by nearest neighbour, both by PIL as in the release; areas are stale."""
    image = _pil_resize(sample.image.permute(1, 2, 0), hw, Image.Resampling.BILINEAR).permute(2, 0, 1)
    return replace(sample, image=image, id_map=_pil_resize(sample.id_map, hw, Image.Resampling.NEAREST))


def _pil_resize(pixels: torch.Tensor, hw: tuple[int, int], how: Any) -> torch.Tensor:
    resized = Image.fromarray(np.ascontiguousarray(pixels.numpy())).resize(hw[::-1], how)
    return torch.from_numpy(np.array(resized))


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _coin(generator: torch.Generator) -> bool:
    return bool(torch.rand((), generator=generator) < 0.5)

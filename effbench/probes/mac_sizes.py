"""On which inputs MACs are counted: one size, or the images of COCO val2017 as the papers average them.

The released models resize the shorter side to 800 (the longer to at most 1333) and pad to a multiple of 32; their
totals include bringing the masks back to the original size. The papers' tool prints the encoder of the last image
beside the mean total over the first N images, which `coco:first30` and `coco:first100` reproduce.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from effbench.data.sizes import coco_val2017_first, coco_val2017_sizes
from effbench.data.transforms import pad_to, resize_shortest
from effbench.errors import InputError
from effbench.models.segmenter import STRIDE
from effbench.probes.base import parse_size

CITYSCAPES = (1024, 2048)
CITYSCAPES_CLASSES, COCO_CLASSES = 19, 133


class Input(NamedTuple):
    """(H, W) of one image: as stored, as resized, as padded; and how many images share it."""

    original: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    images: int = 1


@dataclass(frozen=True)
class SizeProtocol:
    """The inputs, and whether the encoder's count is the last image's instead of the mean."""

    inputs: list[Input]
    encoder_of_last: bool = False


def fixed(height: int, width: int) -> Input:
    """One image at exactly this size, padded to the stride."""
    return Input((height, width), (height, width), pad_to((height, width), STRIDE))


def resized(sizes: Iterable[tuple[tuple[int, int], int]], short: int = 800, longest: int = 1333) -> list[Input]:
    """(original size, number of images) at the shorter side `short`, the longer at most `longest`."""
    inputs = []
    for original, images in sizes:
        target = resize_shortest(original, short, longest)
        inputs.append(Input(original, target, pad_to(target, STRIDE), images))
    return inputs


def size_protocol(size: str) -> SizeProtocol:
    """`HxW`, `cityscapes`, `coco`, `coco:firstN` (N up to 100); InputError for anything else."""
    if size == "cityscapes":
        return SizeProtocol([fixed(*CITYSCAPES)])
    if size == "coco":
        return SizeProtocol(resized(coco_val2017_sizes().items()))
    if size.startswith("coco:first") and size.removeprefix("coco:first").isdecimal():
        first = coco_val2017_first(int(size.removeprefix("coco:first")))
        return SizeProtocol(resized((hw, 1) for hw in first), encoder_of_last=True)
    try:
        return SizeProtocol([fixed(*parse_size(size))])
    except InputError as error:
        raise InputError(f"{error}, or cityscapes, coco, coco:first30, coco:first100") from None


def default_classes(size: str) -> int:
    """19 at Cityscapes' size, 133 elsewhere."""
    inputs = [CITYSCAPES] if size == "cityscapes" else [i.original for i in size_protocol(size).inputs]
    return CITYSCAPES_CLASSES if inputs == [CITYSCAPES] else COCO_CLASSES

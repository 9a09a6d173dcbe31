"""From samples to model input: evaluation sizes, training augmentation and batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from effbench.data.coco_panoptic import Sample
from effbench.errors import InputError


@dataclass(frozen=True)
class Target:
    """labels: int64 (N,) contiguous categories; masks: bool (N, H, W)."""

    labels: torch.Tensor
    masks: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Target:
        return Target(*(x.to(device, non_blocking=non_blocking) for x in (self.labels, self.masks)))

    def pin_memory(self) -> Target:
        return Target(self.labels.pin_memory(), self.masks.pin_memory())


@dataclass(frozen=True)
class Batch:
    """images: float32 (B, 3, H, W) in [0, 1]; targets: one per image."""

    images: torch.Tensor
    targets: list[Target]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on `device`; non-blocking only from pinned memory to a GPU, as torch has it."""
        images = self.images.to(device, non_blocking=non_blocking)
        return Batch(images, [target.to(device, non_blocking) for target in self.targets])

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; torch's DataLoader calls this by its name."""
        return Batch(self.images.pin_memory(), [target.pin_memory() for target in self.targets])


def resize_shortest(image_hw: tuple[int, int], short: int = 800, max_size: int = 1333) -> tuple[int, int]:
    """(height, width) whose shorter side is `short` unless the longer one would exceed `max_size`, in pixels.

    The arithmetic and rounding of detectron2's ResizeShortestEdge (detectron2/data/transforms, v0.6), but never
    less than one pixel, which it gives for images over 2,666 times as long as they are wide.
    """
    height, width = image_hw
    scale = short / min(height, width)
    new_height, new_width = (float(short), scale * width) if height < width else (scale * height, float(short))
    if max(new_height, new_width) > max_size:
        scale = max_size / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def pad_to(hw: tuple[int, int], multiple: int = 32) -> tuple[int, int]:
    """(height, width) rounded up to a multiple of the coarsest stride, in pixels."""
    return math.ceil(hw[0] / multiple) * multiple, math.ceil(hw[1] / multiple) * multiple


def random_flip(sample: Sample, generator: torch.Generator | None = None) -> Sample:
    """Mirrors image and id map left to right with probability one half."""
    if torch.rand((), generator=generator).item() < 0.5:
        return sample
    return replace(sample, image=sample.image.flip(-1), id_map=sample.id_map.flip(-1))


def random_crop(sample: Sample, size: int | tuple[int, int], generator: torch.Generator | None = None) -> Sample:
    """A crop of `size` (side, or height and width in pixels) at a random place.

    A smaller image is padded below and to the right with black void. Segments that the crop leaves empty are
    dropped, the areas of the others are counted anew.
    """
    height, width = (size, size) if isinstance(size, int) else size
    pad = (0, max(0, width - sample.id_map.shape[1]), 0, max(0, height - sample.id_map.shape[0]))
    image, id_map = F.pad(sample.image, pad), F.pad(sample.id_map, pad)
    top = int(torch.randint(id_map.shape[0] - height + 1, (), generator=generator))
    left = int(torch.randint(id_map.shape[1] - width + 1, (), generator=generator))
    rows, columns = slice(top, top + height), slice(left, left + width)
    return with_pixels(sample, image[:, rows, columns], id_map[rows, columns])


def with_pixels(sample: Sample, image: torch.Tensor, id_map: torch.Tensor) -> Sample:
    """The sample with another image and id map: lost segments are dropped, the areas of the others counted anew."""
    ids, counts = np.unique(id_map.numpy(), return_counts=True)
    areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    segments = tuple(replace(segment, area=areas[segment.id]) for segment in sample.segments if segment.id in areas)
    return replace(sample, image=image, id_map=id_map, segments=segments)


def collate(samples: Sequence[Sample]) -> Batch:
    """Batch of samples of one size; crowd segments are no targets, since no single mask is right for them.

    Raises InputError where sizes differ.
    """
    sizes = {tuple(sample.id_map.shape) for sample in samples}
    if len(sizes) != 1:
        raise InputError(
            f"batch of images of sizes {sorted(sizes)}; expected one size, crop the samples with random_crop first"
        )
    images = torch.stack([sample.image for sample in samples]).float() / 255
    return Batch(images, [_target(sample) for sample in samples])


def _target(sample: Sample) -> Target:
    segments = [segment for segment in sample.segments if not segment.iscrowd]
    ids = torch.tensor([segment.id for segment in segments], dtype=sample.id_map.dtype)
    return Target(
        labels=torch.tensor([segment.category for segment in segments], dtype=torch.int64),
        masks=sample.id_map[None] == ids[:, None, None],
    )

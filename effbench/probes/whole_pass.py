"""The whole pass of a segmenter, from images to the answers of three tasks, with its boundaries marked.

What measures by component (time, memory) says what to do at a boundary; where the boundaries are stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from effbench.models import postprocess
from effbench.models.segmenter import Segmenter, SegmenterOutput
from effbench.probes.base import parse_size
from effbench.probes.mac_count import PARTS
from effbench.study.cell import Cell

COMPONENTS = ("preparation", *PARTS, "post_processing")
"""In the order in which they run; preparation normalises and pads."""

Mark = Callable[[str], None]


def random_images(cell: Cell) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] of the cell's size, batch, device and dtype. InputError for another size."""
    height, width = parse_size(cell.size)
    return torch.rand(cell.batch, 3, height, width, device=cell.device, dtype=getattr(torch, cell.dtype))


def end_to_end(model: Segmenter, images: Tensor) -> int:
    """Images (B, 3, H, W) to semantic, panoptic and instance output; how many panoptic segments there are."""
    return _answer(model(images), images)


def _answer(output: SegmenterOutput, images: Tensor) -> int:
    """The three tasks for every image, at its own size.

    Random weights are sure of no query: panoptic inference then has nothing to paint, and takes less than with trained
    ones. The number of segments in the record says so.
    """
    size, segments = (images.shape[2], images.shape[3]), 0
    last = output.predictions[-1]
    for logits, masks in zip(last.logits, last.masks, strict=True):
        resized = postprocess.resize_masks(masks, output.padded_size, size, size)
        postprocess.semantic_map(logits, resized)
        segments += len(postprocess.panoptic(logits, resized, range(logits.shape[1] - 1))[1])
        postprocess.instances(logits, resized)
    return segments


@contextmanager
def marked(model: Segmenter, enter: Mark, leave: Mark) -> Iterator[Callable[[Tensor], int]]:
    """`end_to_end` of `model` that calls enter(component) and leave(component) around each of `COMPONENTS`."""

    def before(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if name == "backbone":
                leave("preparation")
            enter(name)

        return hook

    def after(name: str) -> Callable[..., None]:
        return lambda *_: leave(name)

    def run(images: Tensor) -> int:
        enter("preparation")
        output = model(images)
        enter("post_processing")
        segments = _answer(output, images)
        leave("post_processing")
        return segments

    with ExitStack() as stack:
        for name in PARTS:
            part = getattr(model, name)
            stack.callback(part.register_forward_pre_hook(before(name)).remove)
            stack.callback(part.register_forward_hook(after(name)).remove)
        yield run

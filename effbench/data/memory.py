"""A small data set decoded once, so that training does not wait for JPEG and PNG files."""

from __future__ import annotations

from torch.utils.data import Dataset

from effbench.data.coco_panoptic import CocoPanoptic, Sample

PIXEL_BYTES = 3 + 4
"""Of a decoded sample: RGB, and an int32 segment id."""
MOST_IN_MEMORY = 10**9
"""Bytes of decoded samples that one training holds: trainings side by side each have their own."""


class InMemory(Dataset[Sample]):
    """All samples of `dataset`, decoded on construction."""

    def __init__(self, dataset: CocoPanoptic) -> None:
        self.samples = [dataset[i] for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def image_source(data: CocoPanoptic, visits: int, workers: int) -> tuple[Dataset[Sample], int]:
    """Where a training of so many `visits` to images takes them from, and how many processes load them.

    A small set is decoded once and then needs no process; one over `MOST_IN_MEMORY`, or of which most images are never
    visited, is read from its files, by `workers` processes. Neither changes a batch.
    """
    decoded = PIXEL_BYTES * sum(height * width for height, width in data.image_sizes)
    held = decoded <= MOST_IN_MEMORY and visits >= len(data)
    return (InMemory(data), 0) if held else (data, workers)

"""A small data set decoded once, so that training does not wait for JPEG and PNG files."""

from __future__ import annotations

from torch.utils.data import Dataset

from effbench.data.coco_panoptic import CocoPanoptic, Sample


class InMemory(Dataset[Sample]):
    """All samples of `dataset`, decoded on construction."""

    def __init__(self, dataset: CocoPanoptic) -> None:
        self.samples = [dataset[i] for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

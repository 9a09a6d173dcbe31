"""The batches of a training, in this process or ahead of it in others: what a step sees is the same.

A batch depends on the seed and the step alone, so that a resumed run sees what an undisturbed one would have seen.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from effbench.data.augmentation import augmentation
from effbench.data.coco_panoptic import Sample
from effbench.data.transforms import Batch, collate
from effbench.errors import InputError
from effbench.processes import end_with_parent


class StepBatches(Dataset[Batch | InputError]):
    """Step -> its augmented batch, or the InputError of an image that cannot be read.

    The error is returned, since what a loading process raises reaches the training wrapped in its traceback.

    Args:
        dataset: samples of any size.
        batch_size, crop: images per step; side of the crops in pixels.
        augmentation: a name in `AUGMENTATIONS`.
        seed: of the images' order and of the augmentation.
        places: which of the batch's images to take, all by default: the share of one of several processes.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batch_size: int,
        crop: int,
        augmentation: str,
        seed: int,
        places: range | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.crop = dataset, batch_size, crop
        self.augmentation, self.seed = augmentation, seed
        self.places = range(batch_size) if places is None else places

    def __getitem__(self, step: int) -> Batch | InputError:
        generator = torch.Generator().manual_seed(step_seed(self.seed, step, self.places.start))
        augment = augmentation(self.augmentation)
        try:
            return collate([augment(self.dataset[i], self.crop, generator) for i in self._indices(step)])
        except InputError as error:
            return error

    def _indices(self, step: int) -> Iterator[int]:
        """The images of one step: consecutive places in an order that is drawn anew for every pass over the set."""
        size = len(self.dataset)  # type: ignore[arg-type]
        for place in self.places:
            epoch, offset = divmod(step * self.batch_size + place, size)
            yield int(_order(size, self.seed, epoch)[offset])

    def __getstate__(self) -> dict[str, Any]:
        # As bytes: on its way to a process torch would pass every tensor of the data set as an open file.
        return {**self.__dict__, "dataset": pickle.dumps(self.dataset)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, dataset=pickle.loads(state["dataset"]))


def load_batches(batches: StepBatches, steps: range, workers: int = 0, pin_memory: bool = False) -> Iterator[Batch]:
    """The batches of `steps` in order, made by `workers` processes ahead of time (0: here, when they are asked for).

    Raises InputError when the step of an image that cannot be read is reached.
    """
    context = None
    if workers:
        # Not forked from here: a thread that holds a lock at that moment would leave it locked for ever.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
    loader: DataLoader[Batch | InputError] = DataLoader(
        batches,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context=context,
        worker_init_fn=_end_with_the_training,
        generator=torch.Generator(),  # or it would draw from the global one
    )
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch


def _end_with_the_training(worker: int) -> None:
    """For a training that was killed: torch watches its parent, which is only the fork server."""
    end_with_parent()


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """One seed per step and process, far from those of its neighbours' runs."""
    return seed * 1_000_003 + step + rank * 7_368_787


@lru_cache(maxsize=2)  # a step may straddle two passes
def _order(size: int, seed: int, epoch: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))

"""Batches of steps: the same from this process, from others, and from the middle of a training on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.data.loader import StepBatches, load_batches
from effbench.data.memory import InMemory
from effbench.data.transforms import Batch
from effbench.errors import InputError


def same(first: Batch, second: Batch) -> bool:
    pairs = zip(first.targets, second.targets, strict=True)
    return torch.equal(first.images, second.images) and all(
        torch.equal(a.labels, b.labels) and torch.equal(a.masks, b.masks) for a, b in pairs
    )


@pytest.fixture
def batches(many_images: Path) -> StepBatches:
    """Three crops of 16 x 16 pixels a step."""
    return StepBatches(CocoPanoptic(many_images, limit=7), 3, 16, "crop", seed=1)


@pytest.mark.parametrize("augmentation", ["crop", "large_scale_jitter"])
def test_other_processes_make_the_same_batches(augmentation: str, many_images: Path) -> None:
    batches = StepBatches(CocoPanoptic(many_images, limit=7), 3, 16, augmentation, seed=1)
    here = list(load_batches(batches, range(6)))
    there = list(load_batches(batches, range(6), workers=2))
    assert len(here) == len(there) == 6
    assert all(map(same, here, there))
    assert not any(same(here[0], other) for other in here[1:])


@pytest.mark.parametrize("workers", [0, 2])
def test_from_the_middle_on_they_are_what_they_would_have_been(workers: int, batches: StepBatches) -> None:
    every = list(load_batches(batches, range(5)))
    assert all(map(same, every[3:], load_batches(batches, range(3, 5), workers)))
    assert list(load_batches(batches, range(5, 5))) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_is_left_alone(workers: int, batches: StepBatches) -> None:
    before = torch.random.get_rng_state()
    list(load_batches(batches, range(2), workers))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_other_batches(batches: StepBatches, many_images: Path) -> None:
    other = StepBatches(batches.dataset, 3, 16, "crop", seed=2)
    assert not any(map(same, load_batches(batches, range(3)), load_batches(other, range(3))))


def test_every_image_comes_once_a_pass(batches: StepBatches) -> None:
    class Watched(Dataset[Sample]):
        def __len__(self) -> int:
            return 7

        def __getitem__(self, index: int) -> Sample:
            asked.append(index)
            return data[index]

    data, asked = batches.dataset, []
    batches.dataset = Watched()
    list(load_batches(batches, range(7)))  # three passes of seven, in threes
    assert all(sorted(asked[i : i + 7]) == list(range(7)) for i in (0, 7, 14))
    assert Counter(tuple(asked[i : i + 7]) for i in (0, 7, 14)).most_common(1)[0][1] == 1, "each in an order of its own"


def test_data_in_memory_reach_the_processes(many_images: Path) -> None:
    """More tensors than a process may open files."""
    data = InMemory(CocoPanoptic(many_images, limit=600))
    batches = StepBatches(data, 3, 16, "crop", seed=1)
    assert all(map(same, load_batches(batches, range(2)), load_batches(batches, range(2), workers=1)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_told_in_one_line_when_its_step_comes(workers: int, coco_root: Path) -> None:
    batches = StepBatches(CocoPanoptic(coco_root), 1, 4, "crop", seed=0)
    (coco_root / "val2017/7.jpg").write_bytes(b"not a picture")
    readable = [isinstance(batches[step], Batch) for step in range(8)]
    read: list[Batch] = []
    with pytest.raises(InputError) as caught:
        read.extend(load_batches(batches, range(8), workers))
    message = str(caught.value)
    assert message.startswith(f"{coco_root / 'val2017/7.jpg'}: cannot be read as an image") and "\n" not in message
    assert len(read) == readable.index(False)


def test_a_mistake_in_a_data_set_is_not_taken_for_bad_input(batches: StepBatches) -> None:
    batches.dataset = [1, 2, 3]  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        list(load_batches(batches, range(1)))


KILLED = """
import multiprocessing, os, sys, time
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.loader import StepBatches, load_batches

if __name__ == "__main__":
    batches = load_batches(StepBatches(CocoPanoptic(sys.argv[1], limit=7), 3, 16, "crop", 1), range(1000), workers=2)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_training_leaves_no_process_behind(many_images: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(many_images)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        workers = [int(pid) for pid in training.stdout.readline().split()]
        assert len(workers) == 2 and all(map(is_running, workers))
        training.kill()
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


@pytest.mark.cuda
@pytest.mark.parametrize("workers", [0, 1])
def test_pinned_batches_are_the_same(workers: int, batches: StepBatches) -> None:
    for plain, pinned in zip(
        load_batches(batches, range(3)), load_batches(batches, range(3), workers, pin_memory=True), strict=True
    ):
        assert pinned.images.is_pinned() and all(target.masks.is_pinned() for target in pinned.targets)
        assert same(plain, pinned)
        assert same(plain, pinned.to("cuda", non_blocking=True).to("cpu"))

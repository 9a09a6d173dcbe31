"""A data set in memory gives what the reader gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from effbench.data import memory as module
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.memory import InMemory, image_source


def test_in_memory_gives_what_the_reader_gives(coco_root: Path) -> None:
    data = CocoPanoptic(coco_root)
    memory = InMemory(data)
    assert len(memory) == 2
    for i in range(2):
        assert memory[i].image.equal(data[i].image) and memory[i].segments == data[i].segments
        assert memory[i] is memory[i], "decoded once"


def test_a_set_too_large_for_memory_is_read_from_its_files(coco_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = CocoPanoptic(coco_root)
    assert module.MOST_IN_MEMORY > 2000 * 128 * 128 * 7, "what a CPU trains on is held"
    decoded = sum(x.image.nbytes + x.id_map.nbytes for x in InMemory(data).samples)
    monkeypatch.setattr(module, "MOST_IN_MEMORY", decoded)
    held, workers = image_source(data, 2, 3)
    assert isinstance(held, InMemory) and workers == 0, "there is nothing to load"
    monkeypatch.setattr(module, "MOST_IN_MEMORY", decoded - 1)
    assert image_source(data, 2, 3) == (data, 3)


def test_images_that_are_never_visited_are_not_decoded(coco_root: Path) -> None:
    data = CocoPanoptic(coco_root)
    assert image_source(data, 1, 3) == (data, 3)

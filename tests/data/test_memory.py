"""A data set in memory gives what the reader gives."""

from __future__ import annotations

from pathlib import Path

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.memory import InMemory


def test_in_memory_gives_what_the_reader_gives(coco_root: Path) -> None:
    data = CocoPanoptic(coco_root)
    memory = InMemory(data)
    assert len(memory) == 2
    for i in range(2):
        assert memory[i].image.equal(data[i].image) and memory[i].segments == data[i].segments
        assert memory[i] is memory[i], "decoded once"

"""Memory: a long evaluation needs no more of it at its end than at its beginning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.memory import InMemory

GROWTH = 4 * 2**20
"""Bytes that images may add to the process after the first 500; the pixels and ids of another 1,000 are 7 MB."""

MEASURE = """
import sys
from pathlib import Path
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.quality import PanopticMap, accumulate, image_stats

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def every_image():
    for i in range(len(data)):
        sample = data[i]
        if sys.argv[2] == "keep":
            kept.append(sample)
        truth = PanopticMap(sample.id_map, sample.segments)
        yield image_stats(truth, truth)
        if i + 1 in (500, len(data)):
            sizes.append(resident())

data, kept, sizes = CocoPanoptic(sys.argv[1], limit=int(sys.argv[3])), [], []
total = accumulate(every_image())
print(sum(stats.tp for stats in total.values()), sizes[1] - sizes[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm, which only Linux has")
@pytest.mark.parametrize(("how", "images"), [("read", 5000), ("keep", 1500)])
def test_reading_and_scoring_5000_images_needs_flat_memory(how: str, images: int, many_images: Path) -> None:
    """In a process of its own, where no earlier test left memory to use; "keep" proves that a leak would be seen."""
    command = [sys.executable, "-c", MEASURE, str(many_images), how, str(images)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    matched, growth = map(int, out.split())
    assert matched == 2 * images
    assert (growth < GROWTH) == (how == "read"), f"grew by {growth} bytes"


def test_in_memory_gives_what_the_reader_gives(coco_root: Path) -> None:
    data = CocoPanoptic(coco_root)
    memory = InMemory(data)
    assert len(memory) == 2
    for i in range(2):
        assert memory[i].image.equal(data[i].image) and memory[i].segments == data[i].segments
        assert memory[i] is memory[i], "decoded once"

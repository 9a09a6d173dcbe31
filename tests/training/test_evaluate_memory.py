"""Memory: a long evaluation needs hardly more of it at its end than at its beginning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PER_IMAGE = 6 * 2**10
"""Bytes that an evaluated image may leave behind: its statistics and the run lengths of its instances, no pixels."""

MEASURE = """
import sys
from pathlib import Path
import torch
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.encoders.contract import EncoderOutput
from effbench.models.mask2former_decoder import Prediction
from effbench.models.segmenter import SegmenterOutput
from effbench.training.evaluate import Inference, evaluate

torch.set_num_threads(1)

class Blind(torch.nn.Module):
    \"\"\"Says person above, sky below, whatever it is shown.\"\"\"
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Identity()
        self.masks = torch.nn.Parameter(torch.full((1, 2, 16, 16), -5.0))
        self.masks.data[0, 0, :8], self.masks.data[0, 1, 8:] = 5.0, 5.0
        self.logits = torch.tensor([[[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]]])
    def forward(self, images):
        return SegmenterOutput([Prediction(self.logits, self.masks)], EncoderOutput(self.masks, ()), (64, 64))

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

class Seen(CocoPanoptic):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if sys.argv[2] == "keep":
            kept.append(sample)
        if index in (500, len(self) - 1):
            sizes.append(resident())
        return sample

kept, sizes = [], []
data = Seen(sys.argv[1], limit=int(sys.argv[3]))
found = evaluate(Blind(), data, Inference(object_threshold=0.5))
print(len(found.images), round(found.instances.ap), (sizes[1] - sizes[0]) // (len(data) - 501))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm, which only Linux has")
@pytest.mark.parametrize(("how", "images"), [("read", 5000), ("keep", 1200)])
def test_5000_images_are_evaluated_in_flat_memory(how: str, images: int, many_images: Path) -> None:
    """In a process of its own, where no earlier test left memory to use; "keep" proves that a leak would be seen."""
    command = [sys.executable, "-c", MEASURE, str(many_images), how, str(images)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    evaluated, ap, growth = map(int, out.split())
    assert (evaluated, ap) == (images, 100)
    assert (growth < PER_IMAGE) == (how == "read"), f"grew by {growth} bytes per image"

"""A data root and cells that are small enough to be measured in a test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effbench.data.embedded import embedded_root
from effbench.probes import canary, roofline, warm_up
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]

TINY = {
    "encoder": "fpn",
    "width": {"dim": 32, "mask_dim": 32},
    "backbone": "resnet_mini",
    "decoder_settings": {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1},
    "dataset": "a tiny set",
    "size": "64x64",
    "classes": 15,
    "queries": 6,
}


@pytest.fixture(scope="session")
def tiny_root() -> Path:
    """Six generated images of 64 x 64 pixels, three of them for validation."""
    return embedded_root(size=64, counts={"train2017": 3, "val2017": 3})


@pytest.fixture
def tiny_cell() -> MakeCell:
    """A cell of a narrow model, with what a test changes about it."""
    return lambda **changes: Cell(**{**TINY, **changes})


@pytest.fixture
def context(tmp_path: Path, tiny_root: Path) -> Context:
    """A work folder of its own and the tiny set as the data root."""
    work = tmp_path / "work"
    work.mkdir()
    return Context(str(work), {"data_root": str(tiny_root)})


@pytest.fixture
def crowded_root(tmp_path: Path) -> Path:
    """One 40 x 48 photo of a cat, a crowd of cats and sky, with void between, in the COCO panoptic layout."""
    for folder in ("annotations", "val2017", "panoptic_val2017"):
        (tmp_path / folder).mkdir()
    ids = np.zeros((40, 48, 3), np.uint8)
    ids[:10] = (1, 0, 0)
    ids[20:30, :24] = (2, 0, 0)
    ids[20:40, 24:] = (3, 0, 0)
    Image.fromarray(ids).save(tmp_path / "panoptic_val2017/1.png")
    Image.fromarray(np.full((40, 48, 3), 90, np.uint8)).save(tmp_path / "val2017/1.jpg")
    segments = [(1, 12, 0, 480), (2, 40, 0, 240), (3, 40, 1, 480)]
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 40, "width": 48}],
        "annotations": [
            {
                "image_id": 1,
                "file_name": "1.png",
                "segments_info": [
                    {"id": id_, "category_id": category, "iscrowd": crowd, "area": area}
                    for id_, category, crowd, area in segments
                ],
            }
        ],
        "categories": [
            {"id": 40, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
            {"id": 12, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
        ],
    }
    (tmp_path / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def fake_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an nvidia-smi in front of the path that does what a shell script says."""

    def write(script: str) -> None:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    return write


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-ups and a canary that take milliseconds."""
    monkeypatch.setitem(canary.SIDE, "cpu", 64)
    monkeypatch.setattr(warm_up, "BLOCK_S", 0.002)
    monkeypatch.setattr(warm_up, "MOST_S", 0.1)


@pytest.fixture
def small_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings that take milliseconds and say little."""
    monkeypatch.setitem(roofline.SIDE, "cpu", 64)
    monkeypatch.setitem(roofline.MAP, "cpu", (1, roofline.CHANNELS, 4, 4))
    monkeypatch.setattr(roofline, "COPIED", 2**16)

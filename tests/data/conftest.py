"""A tiny hand-made set in the COCO panoptic layout, for tests to read and to damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """Two 4 x 6 images: id 7 (grey, one crowd and one stuff segment, void between) and id 3 (no segments)."""
    for folder in ("annotations", "val2017", "panoptic_val2017"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.full((4, 6), 90, np.uint8)).save(tmp_path / "val2017/7.jpg")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "val2017/3.jpg")
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:2, :3] = (5, 2, 1)
    rgb[3] = (9, 0, 0)
    Image.fromarray(rgb).save(tmp_path / "panoptic_val2017/7.png")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "panoptic_val2017/3.png")
    thing = {"id": 5 + 2 * 256 + 65536, "category_id": 40, "iscrowd": 1, "area": 6, "bbox": [0, 0, 3, 2]}
    stuff = {"id": 9, "category_id": 12, "iscrowd": 0, "area": 6, "bbox": [0, 3, 6, 1]}
    content = {
        "images": [
            {"id": 7, "file_name": "7.jpg", "height": 4, "width": 6},
            {"id": 3, "file_name": "3.jpg", "height": 4, "width": 6},
        ],
        "annotations": [
            {"image_id": 7, "file_name": "7.png", "segments_info": [thing, stuff]},
            {"image_id": 3, "file_name": "3.png", "segments_info": []},
        ],
        "categories": [
            {"id": 40, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
            {"id": 12, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
        ],
    }
    (tmp_path / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def edit_json(coco_root: Path) -> Callable[[Callable[[dict[str, Any]], object]], None]:
    """Applies a change to the annotation file of `coco_root`."""
    path = coco_root / "annotations/panoptic_val2017.json"

    def edit(change: Callable[[dict[str, Any]], object]) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit

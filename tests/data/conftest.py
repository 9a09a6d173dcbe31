"""Tiny hand-made sets in the two layouts, for tests to read and to damage, and one of many images."""

from __future__ import annotations

import json
import os
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


@pytest.fixture
def cityscapes_root(tmp_path: Path) -> Path:
    """Three 4 x 8 images of two cities, as cityscapesScripts' createPanopticImgs.py would convert them.

    Each has road above, void between, two cars and a group of cars (a crowd) below; its grey is its place in the
    sorted order of names.
    """
    root = tmp_path / "cityscapes"
    images, annotations = [], []
    ids = np.zeros((4, 8), np.int32)
    ids[:2], ids[3, :2], ids[3, 2:4], ids[3, 4:] = 7, 26000, 26001, 26
    (root / "gtFine/cityscapes_panoptic_val").mkdir(parents=True)
    names = ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"]
    for position, name in reversed(list(enumerate(names))):
        city = root / "leftImg8bit/val" / name.partition("_")[0]
        city.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 8, 3), position, np.uint8)).save(city / f"{name}_leftImg8bit.png")
        png = f"{name}_gtFine_panoptic.png"
        rgb = np.stack([ids % 256, ids // 256, ids // 65536], -1).astype(np.uint8)
        Image.fromarray(rgb).save(root / "gtFine/cityscapes_panoptic_val" / png)
        images.append({"id": name, "width": 8, "height": 4, "file_name": f"{name}_gtFine_leftImg8bit.png"})
        segments = [
            {"id": i, "category_id": category, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1], "iscrowd": crowd}
            for i, category, crowd in [(7, 7, 0), (26, 26, 1), (26000, 26, 0), (26001, 26, 0)]
        ]
        annotations.append({"image_id": name, "file_name": png, "segments_info": segments})
    categories = [
        {"id": 7, "name": "road", "color": [128, 64, 128], "supercategory": "flat", "isthing": 0},
        {"id": 26, "name": "car", "color": [0, 0, 142], "supercategory": "vehicle", "isthing": 1},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "gtFine/cityscapes_panoptic_val.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in the COCO panoptic layout with 5,000 images of 32 x 32 pixels in val2017: one image, linked."""
    root = tmp_path_factory.mktemp("many")
    for folder in ("annotations", "val2017", "panoptic_val2017"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(root / "image.jpg")
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:16, ..., 0], rgb[16:24, ..., 0] = 1, 2
    Image.fromarray(rgb).save(root / "segments.png")
    segments = [
        {"id": 1, "category_id": 1, "iscrowd": 0, "area": 512},
        {"id": 2, "category_id": 2, "iscrowd": 0, "area": 256},
    ]
    images, annotations = [], []
    for i in range(5000):
        os.link(root / "image.jpg", root / f"val2017/{i}.jpg")
        os.link(root / "segments.png", root / f"panoptic_val2017/{i}.png")
        images.append({"id": i, "file_name": f"{i}.jpg", "height": 32, "width": 32})
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
    categories = [
        {"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]},
        {"id": 2, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    return root

"""Where the real data sets lie, and which of the two layouts a folder has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from effbench.data import cityscapes, coco_panoptic
from effbench.data.cityscapes import open_cityscapes
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.errors import InputError

Dataset = Literal["coco", "cityscapes"]
VARIABLES = ("EFFBENCH_DATASETS", "DETECTRON2_DATASETS")
"""Environment variables that name a folder with coco/ and cityscapes/ in it, as detectron2 has it; the first wins."""

MARKERS: dict[Dataset, tuple[str, ...]] = {"coco": ("annotations",), "cityscapes": ("leftImg8bit", "gtFine")}


TEST_SIZE: dict[Dataset, tuple[int, int]] = {"coco": (800, 1333), "cityscapes": (1024, 2048)}
"""Sides in pixels that Mask2Former resizes images to for a test: the shorter one, and the longest allowed."""


def find_root(data_root: str | Path | None, dataset: Dataset) -> Path:
    """The folder of a data set: `data_root` itself, else `<variable>/<dataset>` of the first variable that is set.

    Raises InputError when the folder is not there or has not the layout of `dataset`, or when nothing names one.
    """
    if data_root is not None:
        root, origin = Path(data_root), "the data root"
    else:
        named = [name for name in VARIABLES if os.environ.get(name)]
        if not named:
            raise InputError(
                f"no folder of the data set {dataset} is known; expected one of: a data root (--data-root PATH), "
                f"or {VARIABLES[0]} or {VARIABLES[1]} set to a folder that holds {dataset}/"
            )
        root, origin = Path(os.environ[named[0]]) / dataset, f"{named[0]}={os.environ[named[0]]}"
    if not root.is_dir():
        raise InputError(f"{root} not found; expected the folder of {dataset} there because of {origin}, correct it")
    if (found := layout_of(root)) != dataset:
        raise InputError(f"{root} has the layout of {found}; expected {dataset}'s, correct {origin} or ask for {found}")
    return root


def layout_of(root: Path) -> Dataset:
    """Which layout `root` has. Raises InputError, with both, when it has neither or shows signs of both."""
    found: list[Dataset] = [name for name, parts in MARKERS.items() if any((root / part).is_dir() for part in parts)]
    if len(found) != 1:
        raise InputError(
            f"{root} {'looks like both' if found else 'has neither'} of the layouts; expected COCO panoptic "
            "(annotations/panoptic_val2017.json, val2017/, panoptic_val2017/) or Cityscapes (leftImg8bit/val/, "
            "gtFine/cityscapes_panoptic_val.json, gtFine/cityscapes_panoptic_val/); correct the path"
        )
    return found[0]


def open_split(root: str | Path, split: str, limit: int | None = None) -> CocoPanoptic:
    """The reader of "train" or "val" of a folder in either layout. Raises InputError as the readers do."""
    root = Path(root)
    if layout_of(root) == "cityscapes":
        return open_cityscapes(root, split, limit)
    return CocoPanoptic(root, f"{split}2017", limit)


def test_size(root: str | Path) -> tuple[int, int]:
    """`TEST_SIZE` of the layout of `root`."""
    return TEST_SIZE[layout_of(Path(root))]


def annotation_file(root: Path, split: str) -> Path:
    """The annotation file of "train" or "val"; raises InputError when a part of the split is missing."""
    if layout_of(root) == "cityscapes":
        return cityscapes.check_layout(root, split)
    return coco_panoptic.check_layout(root, f"{split}2017")

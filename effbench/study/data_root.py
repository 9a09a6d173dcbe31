"""Which data a study runs on: a data root is known by what it holds, not by where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from effbench.data.roots import Dataset, annotation_file, find_root, layout_of, open_split, test_size
from effbench.errors import InputError

SPLITS = ("train", "val")


def identify(root: Path, splits: Sequence[str] = SPLITS) -> str:
    """12 hexadecimal digits over the annotation files of a root in the COCO panoptic or the Cityscapes layout.

    A split may be called as COCO calls it, too: `val2017` is `val`.

    Raises InputError, naming what is missing, when it is no such root.
    """
    digest = hashlib.sha256()
    for split in splits:
        digest.update(annotation_file(root, split.removesuffix("2017")).read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class DataRoot:
    """A data root that a suite can measure on.

    Attributes:
        path: where it lies.
        id: `identify`'s, by which records know it.
        test_size: (shorter side, longest allowed side) in pixels of an image in a test.
    """

    path: Path
    id: str
    test_size: tuple[int, int]


def dataset_of(data_root: Path | None) -> Dataset:
    """Whose layout a data root has, COCO's where none is given. Raises InputError as `layout_of` does."""
    return "coco" if data_root is None else layout_of(data_root)


def checked_root(data_root: Path | None, dataset: Dataset, classes: int) -> DataRoot:
    """The data root that was given, or the one that the environment names, read once so that nothing breaks later.

    Raises InputError when it is not there, is of the other layout, has more than `classes` classes, or when the
    annotations of a split cannot be read or name files that are missing.
    """
    root = find_root(data_root, dataset).resolve()
    for split in SPLITS:
        data = open_split(root, split)
        if len(data.categories) > classes:
            raise InputError(
                f"{data.annotation_file} has {len(data.categories)} classes; expected at most {classes}, {dataset}'s"
            )
    return DataRoot(root, identify(root), test_size(root))

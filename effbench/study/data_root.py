"""Which data a study runs on: a data root is known by what it holds, not by where it lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from effbench.data.roots import annotation_file

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

"""Image sizes of COCO val2017 as package data, so that averages over the set need no download.

The heights and widths are facts of COCO's panoptic_val2017.json (https://cocodataset.org, 2017 panoptic
annotations): a census of all 5,000 images, and the first 100 in the order of image ids.
"""

from __future__ import annotations

import csv
from importlib.resources import files

from effbench.errors import InputError


def coco_val2017_sizes() -> dict[tuple[int, int], int]:
    """Number of val2017's images of each (height, width) in pixels; the counts sum to 5,000."""
    rows = _rows("coco_val2017_image_sizes.csv")
    return {(int(row["height"]), int(row["width"])): int(row["images"]) for row in rows}


def coco_val2017_first(n: int) -> list[tuple[int, int]]:
    """(height, width) in pixels of val2017's first n images by image id; InputError unless 1 <= n <= 100."""
    rows = _rows("coco_val2017_first100_sizes.csv")
    if not 1 <= n <= len(rows):
        raise InputError(
            f"first {n} images of COCO val2017 asked for; sizes are kept for 1 to {len(rows)}, "
            "use the whole set's census beyond"
        )
    return [(int(row["height"]), int(row["width"])) for row in rows[:n]]


def _rows(name: str) -> list[dict[str, str]]:
    with (files("effbench.data") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))

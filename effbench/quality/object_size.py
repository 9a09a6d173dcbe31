"""PQ by the size of the objects: where a cheaper encoder loses, small objects usually go first.

The bounds are COCO's (cocodataset.org, detection evaluation), here on the areas of panoptic segments, stuff included.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from effbench.quality.panoptic import ImageStats, Outcome, tally

BOUNDS = {"small": 32**2, "medium": 96**2, "large": math.inf}  # pixels, exclusive


def by_size(outcomes: Iterable[Outcome]) -> dict[str, ImageStats]:
    """The statistics of one image, apart for small (< 32^2), medium (< 96^2) and large segments.

    Areas are in pixels of the ground-truth map, at the image's own size. A matched pair and a missed true segment
    belong to the true segment's size, a false positive to its own. So the three add up to the image's statistics.
    """
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[next(size for size, bound in BOUNDS.items() if outcome.area < bound)].append(outcome)
    return {size: tally(groups[size]) for size in BOUNDS}

"""Panoptic quality (PQ) from id maps in memory.

The definition is Kirillov et al., "Panoptic Segmentation" (CVPR 2019, section 4), with the void and crowd
rules of the released evaluator (panopticapi, evaluation.py), which reads PNG files and forgets single
images. Here an image costs under a millisecond and leaves its statistics behind: early exit needs the PQ of
every image, and a bootstrap or another averaging needs no second inference.

All quality numbers are percentages (0 to 100), as the papers print them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from effbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

VOID = 0


class Segment(Protocol):
    """A row of a segment table: its id in the map (not 0), its category, and whether it is a crowd."""

    @property
    def id(self) -> int: ...
    @property
    def category(self) -> int: ...
    @property
    def iscrowd(self) -> bool: ...


class SegmentInfo(NamedTuple):
    """The plainest `Segment`."""

    id: int
    category: int
    iscrowd: bool = False


@dataclass(frozen=True, eq=False)
class PanopticMap:
    """An id map (H, W) of any integer dtype, where 0 is void, and the table of its segments in any order."""

    id_map: npt.NDArray[Any] | Tensor
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class CategoryStats:
    """True positives with the sum of their IoU (each in (0.5, 1]), false positives and false negatives."""

    iou_sum: float = 0.0
    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: CategoryStats) -> CategoryStats:
        return CategoryStats(self.iou_sum + other.iou_sum, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def present(self) -> bool:
        """Whether the category counts in an average."""
        return self.tp + self.fp + self.fn > 0

    @property
    def pq(self) -> float:
        """Panoptic quality in percent, = sq * rq / 100; 0 for an absent category."""
        return 100 * self.iou_sum / (self.tp + 0.5 * self.fp + 0.5 * self.fn) if self.present else 0.0

    @property
    def sq(self) -> float:
        """Segmentation quality in percent: the mean IoU of the true positives; 0 without any."""
        return 100 * self.iou_sum / self.tp if self.tp else 0.0

    @property
    def rq(self) -> float:
        """Recognition quality in percent: the F1 score; 0 for an absent category."""
        return 100 * self.tp / (self.tp + 0.5 * self.fp + 0.5 * self.fn) if self.present else 0.0


class ImageStats(dict[int, CategoryStats]):
    """The statistics of one image: category -> its counts, for the categories present only."""

    def to_json(self) -> dict[str, list[float]]:
        """`{"category": [iou_sum, tp, fp, fn]}`, which json writes and reads back without loss."""
        return {str(category): [s.iou_sum, s.tp, s.fp, s.fn] for category, s in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[Any]]) -> ImageStats:
        """Invert `to_json`. Raises InputError for anything else."""
        stats = cls()
        try:
            for category, (iou_sum, *counts) in data.items():
                if len(counts) != 3 or not all(isinstance(count, int) and count >= 0 for count in counts):
                    raise ValueError(counts)
                stats[int(category)] = CategoryStats(float(iou_sum), *counts)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(
                'expected statistics as {"category": [iou_sum, tp, fp, fn]} with integer counts, as to_json '
                f"writes them, got {data!r:.200}"
            ) from error
        return stats


class QualityResult(NamedTuple):
    """Means in percent over `categories` categories; all 0 when there are none."""

    pq: float
    sq: float
    rq: float
    categories: int


def image_stats(ground_truth: PanopticMap, prediction: PanopticMap) -> ImageStats:
    """Match the segments of one image and count, as panopticapi's `pq_compute_single_core` does.

    - A pair matches when the categories agree, the ground truth is no crowd and IoU > 0.5, where the
      prediction's void pixels (ground truth 0) are left out of the union.
    - A ground-truth segment without a match is a false negative, unless it is a crowd.
    - A prediction without a match is a false positive, unless more than half of it lies on void and on the
      crowd of its category. Of several crowds of one category only the last in the table counts, as in the
      released code.

    The area of a ground-truth segment is its number of pixels in the map; panopticapi reads it from the
    annotation. As there, ground-truth ids that the table lacks are neither void nor a segment.

    Raises InputError when the maps are not integer (H, W) of one shape, when a table repeats an id or lists
    0, and when the ids of the predicted map and of its table differ.
    """
    truth_map = _integer_map(ground_truth.id_map, "ground truth")
    predicted_map = _integer_map(prediction.id_map, "prediction")
    if predicted_map.shape != truth_map.shape:
        raise InputError(
            f"the prediction has shape {predicted_map.shape}, the ground truth {truth_map.shape}: "
            "resize the prediction to the ground truth before it is scored"
        )
    truth, predicted = ground_truth.segments, prediction.segments
    overlap = _overlaps(truth_map.ravel(), predicted_map.ravel(), truth, predicted)

    inter, void = overlap[1:-1, 1:], overlap[0, 1:]
    predicted_area = overlap[:, 1:].sum(axis=0)
    if absent := [s.id for s, area in zip(predicted, predicted_area, strict=True) if area == 0]:
        raise InputError(f"the prediction's table lists segments {absent}, which have no pixel in its map: remove them")
    truth_category = np.array([s.category for s in truth], dtype=np.int64)
    predicted_category = np.array([s.category for s in predicted], dtype=np.int64)
    crowd = np.array([bool(s.iscrowd) for s in truth], dtype=bool)

    union = overlap[1:-1].sum(axis=1)[:, None] + predicted_area - inter - void
    match = (2 * inter > union) & (truth_category[:, None] == predicted_category) & ~crowd[:, None]
    crowd_row = {s.category: row for row, s in enumerate(truth) if s.iscrowd}

    counts: dict[int, list[Any]] = defaultdict(lambda: [0.0, 0, 0, 0])
    for row, column in zip(*np.nonzero(match), strict=True):
        count = counts[int(truth_category[row])]
        count[0] += float(inter[row, column] / union[row, column])
        count[1] += 1
    for column in np.flatnonzero(~match.any(axis=0)):
        category = int(predicted_category[column])
        ignored = void[column]
        if category in crowd_row:
            ignored = ignored + inter[crowd_row[category], column]
        if 2 * ignored <= predicted_area[column]:
            counts[category][2] += 1
    for row in np.flatnonzero(~match.any(axis=1) & ~crowd):
        counts[int(truth_category[row])][3] += 1
    return ImageStats({category: CategoryStats(*count) for category, count in sorted(counts.items())})


def accumulate(stats: Iterable[Mapping[int, CategoryStats]]) -> dict[int, CategoryStats]:
    """Sum over images: category -> its counts. PQ of a data set comes from these, not from images' PQ."""
    totals: dict[int, CategoryStats] = defaultdict(CategoryStats)
    for image in stats:
        for category, counts in image.items():
            totals[category] += counts
    return dict(sorted(totals.items()))


def summarise(
    totals: Mapping[int, CategoryStats], things: Collection[int], stuff: Collection[int]
) -> dict[str, QualityResult]:
    """Average `accumulate`'s totals over "all", "things" and "stuff" categories, those present only.

    Raises InputError when a category is in both groups or, though present, in neither.
    """
    if both := sorted(set(things) & set(stuff)):
        raise InputError(f"categories {both} are both things and stuff: list each in one group")
    known = {*things, *stuff}
    if unknown := sorted(c for c, counts in totals.items() if counts.present and c not in known):
        raise InputError(
            f"categories {unknown} are neither things nor stuff: list them, or map the segments to the "
            "data set's categories before they are scored"
        )
    return {
        "all": _mean(totals.values()),
        "things": _mean(totals[c] for c in set(things) & totals.keys()),
        "stuff": _mean(totals[c] for c in set(stuff) & totals.keys()),
    }


def image_pq(stats: Mapping[int, CategoryStats]) -> float:
    """PQ of one image in percent: the mean over the categories present in it; 0 when there are none."""
    return _mean(stats.values()).pq


def panoptic_quality(
    ground_truth: PanopticMap | Iterable[PanopticMap], prediction: PanopticMap | Iterable[PanopticMap]
) -> QualityResult:
    """PQ, SQ and RQ in percent, averaged over the categories present, of one image or of many.

    Many images have their counts accumulated first, which is not the mean of the images' PQ.
    For things and stuff apart use `summarise(accumulate(...), things, stuff)`; the single steps are public.
    Raises InputError as `image_stats` does, and when the numbers of images differ.
    """
    truths = [ground_truth] if isinstance(ground_truth, PanopticMap) else ground_truth
    predictions = [prediction] if isinstance(prediction, PanopticMap) else prediction
    totals = accumulate(_paired_stats(truths, predictions))
    return _mean(totals.values())


def _paired_stats(truths: Iterable[PanopticMap], predictions: Iterable[PanopticMap]) -> Iterable[ImageStats]:
    for number, (truth, prediction) in enumerate(zip_longest(truths, predictions)):
        if truth is None or prediction is None:
            missing = "ground truth" if truth is None else "prediction"
            raise InputError(f"image {number} has no {missing}: give both in the same order and number")
        yield image_stats(truth, prediction)


def _mean(counts: Iterable[CategoryStats]) -> QualityResult:
    present = [c for c in counts if c.present]
    n = len(present)
    if n == 0:
        return QualityResult(0.0, 0.0, 0.0, 0)
    return QualityResult(
        sum(c.pq for c in present) / n, sum(c.sq for c in present) / n, sum(c.rq for c in present) / n, n
    )


def _integer_map(id_map: npt.NDArray[Any] | Tensor, whose: str) -> npt.NDArray[Any]:
    """(H, W) on the host."""
    array = np.asarray(id_map if isinstance(id_map, np.ndarray) else id_map.cpu())
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"the {whose}'s id map must be a non-empty (H, W) map of integers, got shape {array.shape} of {array.dtype}"
        )
    return array


def _overlaps(
    truth_ids: npt.NDArray[Any],
    predicted_ids: npt.NDArray[Any],
    truth: Sequence[Segment],
    predicted: Sequence[Segment],
) -> npt.NDArray[np.int64]:
    """Pixels shared by each pair (N + 2, P + 1): row and column 0 are void, the last row unlisted ids."""
    # A map of real segments is a few thousand runs along its rows. Counting runs by their length leaves two
    # comparisons as the only work per pixel, however large the ids are.
    change = truth_ids[1:] != truth_ids[:-1]
    change |= predicted_ids[1:] != predicted_ids[:-1]
    ends = np.append(np.flatnonzero(change), truth_ids.size - 1)
    lengths = np.diff(ends, prepend=-1)

    rows = _table_rows(truth_ids[ends], truth, "ground truth")
    columns = _table_rows(predicted_ids[ends], predicted, "prediction")
    if (unlisted := columns > len(predicted)).any():
        ids = np.unique(predicted_ids[ends][unlisted]).tolist()
        raise InputError(
            f"the prediction's map has ids {ids[:10]}, which its table lacks: "
            f"list them as segments or set these pixels to {VOID} (void)"
        )
    shape = (len(truth) + 2, len(predicted) + 1)
    # The weights make float64 sums, exact far beyond any number of pixels.
    pixels = np.bincount(rows * shape[1] + columns, weights=lengths, minlength=shape[0] * shape[1])
    return pixels.astype(np.int64).reshape(shape)


def _table_rows(ids: npt.NDArray[Any], segments: Sequence[Segment], whose: str) -> npt.NDArray[np.int64]:
    """The 1-based row of each id in the table, 0 for void, len(segments) + 1 for an id that is not listed."""
    listed = np.array([VOID, *(s.id for s in segments)], dtype=np.int64)
    order = np.argsort(listed)
    ordered = listed[order]
    if (repeated := ordered[1:] == ordered[:-1]).any():
        raise InputError(
            f"the {whose}'s table lists id {ordered[1:][repeated][0]} twice or {VOID}, which is void: "
            "give each segment an id of its own, other than 0"
        )
    ids = ids.astype(np.int64)
    place = np.minimum(np.searchsorted(ordered, ids), len(listed) - 1)
    return np.where(ordered[place] == ids, order[place], len(listed))

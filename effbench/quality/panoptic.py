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
from effbench.quality.overlap import pair_areas

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


class Outcome(NamedTuple):
    """What became of one segment: `counts` holds a single true positive, false positive or false negative.

    `area`, in pixels, is the true segment's in its map for a true positive and a false negative, the predicted
    segment's for a false positive.
    """

    category: int
    area: int
    counts: CategoryStats


def match_segments(ground_truth: PanopticMap, prediction: PanopticMap) -> list[Outcome]:
    """Match the segments of one image, as panopticapi's `pq_compute_single_core` does.

    - A pair matches when the categories agree, the ground truth is no crowd and IoU > 0.5, where the
      prediction's void pixels (ground truth 0) are left out of the union.
    - A ground-truth segment without a match is a false negative, unless it is a crowd.
    - A prediction without a match is a false positive, unless more than half of it lies on void and on the
      crowd of its category. Of several crowds of one category only the last in the table counts, as in the
      released code.

    The area of a ground-truth segment is its number of pixels in the map; panopticapi reads it from the
    annotation. As there, ground-truth ids that the table lacks are neither void nor a segment. Segments that are
    left out of the count (crowds, predictions on void) have no outcome.

    Raises InputError when the maps are not integer (H, W) of one shape, when a table repeats an id or lists
    0, and when the ids of the predicted map and of its table differ.
    """
    truth_map = integer_map(ground_truth.id_map, "ground truth")
    predicted_map = integer_map(prediction.id_map, "prediction")
    if predicted_map.shape != truth_map.shape:
        raise InputError(
            f"the prediction has shape {predicted_map.shape}, the ground truth {truth_map.shape}: "
            "resize the prediction to the ground truth before it is scored"
        )
    truth = _table(ground_truth.segments, "ground truth")
    predicted = _table(prediction.segments, "prediction")
    shared = pair_areas(truth_map, predicted_map)
    truth_area: dict[int, int] = defaultdict(int)
    predicted_area: dict[int, int] = defaultdict(int)
    for (true_id, id_), area in shared.items():
        truth_area[true_id] += area
        predicted_area[id_] += area
    _check_prediction(predicted, predicted_area)

    matches: dict[int, tuple[int, float]] = {}
    for (true_id, id_), area in shared.items():
        if true_id in truth and id_ in predicted:
            segment = truth[true_id]
            union = truth_area[true_id] + predicted_area[id_] - area - shared.get((VOID, id_), 0)
            if 2 * area > union and segment.category == predicted[id_].category and not segment.iscrowd:
                matches[true_id] = id_, area / union
    crowds = {segment.category: id_ for id_, segment in truth.items() if segment.iscrowd}

    outcomes, taken = [], {id_ for id_, _ in matches.values()}
    for true_id, segment in truth.items():
        if true_id in matches:
            hit = CategoryStats(matches[true_id][1], tp=1)
            outcomes.append(Outcome(segment.category, truth_area[true_id], hit))
        elif not segment.iscrowd:
            outcomes.append(Outcome(segment.category, truth_area.get(true_id, 0), _MISSED))
    for id_, found in predicted.items():
        if id_ not in taken:
            area, ignored = predicted_area[id_], shared.get((VOID, id_), 0)
            if found.category in crowds:
                ignored += shared.get((crowds[found.category], id_), 0)
            if 2 * ignored <= area:
                outcomes.append(Outcome(found.category, area, _FALSE))
    return outcomes


_MISSED, _FALSE = CategoryStats(fn=1), CategoryStats(fp=1)


def _table(segments: Sequence[Segment], whose: str) -> dict[int, Segment]:
    """id -> segment, in the table's order."""
    table = {segment.id: segment for segment in segments}
    if len(table) != len(segments) or VOID in table:
        ids = [segment.id for segment in segments]
        repeated = next(id_ for id_ in ids if ids.count(id_) > 1 or id_ == VOID)
        raise InputError(
            f"the {whose}'s table lists id {repeated} twice or {VOID}, which is void: "
            "give each segment an id of its own, other than 0"
        )
    return table


def _check_prediction(table: Mapping[int, Segment], area: Mapping[int, int]) -> None:
    """The ids of map and table must be the same ones."""
    if unlisted := sorted(id_ for id_ in area if id_ != VOID and id_ not in table):
        raise InputError(
            f"the prediction's map has ids {unlisted[:10]}, which its table lacks: "
            f"list them as segments or set these pixels to {VOID} (void)"
        )
    if absent := [id_ for id_ in table if id_ not in area]:
        raise InputError(f"the prediction's table lists segments {absent}, which have no pixel in its map: remove them")


def tally(outcomes: Iterable[Outcome]) -> ImageStats:
    """The statistics of an image, or of a part of its segments, from their outcomes."""
    return ImageStats(_sums((outcome.category, outcome.counts) for outcome in outcomes))


def image_stats(ground_truth: PanopticMap, prediction: PanopticMap) -> ImageStats:
    """The statistics of one image. Raises InputError as `match_segments` does."""
    return tally(match_segments(ground_truth, prediction))


def accumulate(stats: Iterable[Mapping[int, CategoryStats]]) -> dict[int, CategoryStats]:
    """Sum over images: category -> its counts. PQ of a data set comes from these, not from images' PQ."""
    return _sums((category, counts) for image in stats for category, counts in image.items())


def _sums(counted: Iterable[tuple[int, CategoryStats]]) -> dict[int, CategoryStats]:
    sums: dict[int, list[Any]] = {}
    for category, counts in counted:
        total = sums.setdefault(category, [0.0, 0, 0, 0])
        total[0] += counts.iou_sum
        total[1] += counts.tp
        total[2] += counts.fp
        total[3] += counts.fn
    return {category: CategoryStats(*sums[category]) for category in sorted(sums)}


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
    Raises InputError as `match_segments` does, and when the numbers of images differ.
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


def integer_map(id_map: npt.NDArray[Any] | Tensor, whose: str) -> npt.NDArray[Any]:
    """(H, W) on the host."""
    array = np.asarray(id_map if isinstance(id_map, np.ndarray) else id_map.cpu())
    if array.ndim != 2 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"the {whose}'s id map must be a non-empty (H, W) map of integers, got shape {array.shape} of {array.dtype}"
        )
    return array

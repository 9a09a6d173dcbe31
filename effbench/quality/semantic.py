"""mIoU_p: the mean IoU of a panoptic model's semantic output.

Mask2Former scores it with detectron2's SemSegEvaluator, on semantic ground truth made of the panoptic annotations
(its datasets/prepare_coco_semantic_annos_from_panoptic_annos.py): every segment, crowds included, gives its pixels
its category, and all others are left out, where they are predicted too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from effbench.errors import InputError
from effbench.quality.overlap import pair_areas
from effbench.quality.panoptic import PanopticMap, integer_map

if TYPE_CHECKING:
    from torch import Tensor


class MeanIoU(NamedTuple):
    """The mean IoU in percent over `classes` classes, those of the ground truth; 0 when there are none."""

    miou: float
    classes: int


def confusion_matrix(
    ground_truth: PanopticMap, predicted: npt.NDArray[Any] | Tensor, classes: int
) -> npt.NDArray[np.int64]:
    """Pixels of each true (row) and predicted (column) class, int64 (K, K); add them up over images.

    Args:
        ground_truth: its segments' categories are contiguous class indices 0..K-1.
        predicted: the class index of every pixel, integer (H, W).
        classes: K.

    Raises InputError when the maps are not integer (H, W) of one shape, and for a class that is not in 0..K-1.
    """
    truth = integer_map(ground_truth.id_map, "ground truth")
    found = integer_map(predicted, "semantic prediction")
    if found.shape != truth.shape:
        raise InputError(
            f"the semantic prediction has shape {found.shape}, the ground truth {truth.shape}: "
            "resize the prediction to the ground truth before it is scored"
        )
    categories = np.array([s.category for s in ground_truth.segments], dtype=np.int64)
    for whose, used in (("ground truth", categories), ("semantic prediction", found)):
        if used.size and not 0 <= used.min() <= used.max() < classes:
            raise InputError(
                f"the {whose} has classes from {used.min()} to {used.max()}; expected contiguous indices "
                f"from 0 to {classes - 1}, map them to the data set's categories before they are scored"
            )
    category_of = {segment.id: segment.category for segment in ground_truth.segments}
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for (id_, class_), area in pair_areas(truth, found).items():
        if id_ in category_of:
            confusion[category_of[id_], class_] += area
    return confusion


def class_iou(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """IoU of every class in percent (K,) from `confusion_matrix`; NaN for a class that the ground truth lacks."""
    hit, truth = confusion.diagonal(), confusion.sum(axis=1)
    union = truth + confusion.sum(axis=0) - hit
    return np.divide(100.0 * hit, union, out=np.full(len(hit), np.nan), where=truth > 0)


def mean_iou(confusion: npt.NDArray[np.int64]) -> MeanIoU:
    """The mean over the classes of the ground truth, as detectron2 takes it."""
    iou = class_iou(confusion)
    present = iou[~np.isnan(iou)]
    return MeanIoU(float(present.mean()) if present.size else 0.0, present.size)

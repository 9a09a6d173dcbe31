"""How good a prediction is: the measures that the papers print.

What works on records is light; the parts that need PyTorch load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effbench.quality.bootstrap import Difference, bootstrap_pq, interval, pq_difference
from effbench.quality.object_size import by_size
from effbench.quality.panoptic import (
    CategoryStats,
    ImageStats,
    Outcome,
    PanopticMap,
    QualityResult,
    Segment,
    SegmentInfo,
    accumulate,
    image_pq,
    image_stats,
    match_segments,
    panoptic_quality,
    summarise,
    tally,
)
from effbench.quality.semantic import MeanIoU, class_iou, confusion_matrix, mean_iou

if TYPE_CHECKING:
    from effbench.quality.export import PanopticWriter
    from effbench.quality.instances import AveragePrecision, InstanceScorer

__all__ = [
    "AveragePrecision",
    "CategoryStats",
    "Difference",
    "ImageStats",
    "InstanceScorer",
    "MeanIoU",
    "Outcome",
    "PanopticMap",
    "PanopticWriter",
    "QualityResult",
    "Segment",
    "SegmentInfo",
    "accumulate",
    "bootstrap_pq",
    "by_size",
    "class_iou",
    "confusion_matrix",
    "image_pq",
    "image_stats",
    "interval",
    "match_segments",
    "mean_iou",
    "panoptic_quality",
    "pq_difference",
    "summarise",
    "tally",
]

_LAZY = {"AveragePrecision": "instances", "InstanceScorer": "instances", "PanopticWriter": "export"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'effbench.quality' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"effbench.quality.{_LAZY[name]}"), name)

"""How good a prediction is: the measures that the papers print."""

from __future__ import annotations

from effbench.quality.panoptic import (
    CategoryStats,
    ImageStats,
    PanopticMap,
    QualityResult,
    Segment,
    SegmentInfo,
    accumulate,
    image_pq,
    image_stats,
    panoptic_quality,
    summarise,
)

__all__ = [
    "CategoryStats",
    "ImageStats",
    "PanopticMap",
    "QualityResult",
    "Segment",
    "SegmentInfo",
    "accumulate",
    "image_pq",
    "image_stats",
    "panoptic_quality",
    "summarise",
]

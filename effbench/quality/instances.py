"""AP_p: mask AP of a panoptic model's instance output, by pycocotools.

As Mask2Former takes it, but for the ground truth: its COCO figures are held against the separate instance annotations,
whose masks overlap and come from polygons. Here the things of the panoptic annotations are the truth, which every data
set has, so the two differ by a little on COCO.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from effbench.errors import InputError
from effbench.quality.panoptic import PanopticMap, integer_map

if TYPE_CHECKING:
    from torch import Tensor


class AveragePrecision(NamedTuple):
    """COCO's mask AP in percent: over IoU 0.5 to 0.95, at 0.5, at 0.75, and of small, medium and large things.

    None where the ground truth has no thing to find. `categories` is the number of classes that the mean is over.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    aps: float | None
    apm: float | None
    apl: float | None
    categories: int


class InstanceScorer:
    """Takes images one by one and keeps run lengths only: 100 masks of a COCO photo would be 30 MB."""

    def __init__(self, things: Collection[int]) -> None:
        """`things` are the categories that count."""
        self.things = frozenset(things)
        self._sizes: list[tuple[int, int]] = []  # of the images; one is known by its place, from 1
        self._truth: list[dict[str, Any]] = []
        self._predicted: list[dict[str, Any]] = []

    def add(self, ground_truth: PanopticMap, scores: Tensor, classes: Tensor, masks: Tensor) -> None:
        """One image: its ground truth, and predictions with scores (N,), categories (N,) and masks (N, H, W) bool.

        Crowds excuse what is found in them. Void is background, unlike for PQ.

        Raises InputError when the predictions differ in number, or the masks in size from the ground truth.
        """
        ids = np.asfortranarray(integer_map(ground_truth.id_map, "ground truth"))
        if masks.dtype != torch.bool or masks.shape != (len(scores), *ids.shape) or len(classes) != len(scores):
            raise InputError(
                f"got {len(scores)} scores, {len(classes)} classes and masks {tuple(masks.shape)} of {masks.dtype}; "
                f"expected as many of each, and masks (N, {ids.shape[0]}, {ids.shape[1]}) of torch.bool"
            )
        self._sizes.append(ids.shape)
        for segment in ground_truth.segments:
            if segment.category in self.things:
                mask = run_lengths.encode((ids == segment.id).view(np.uint8))
                self._truth.append(self._row(self._truth, segment.category, mask, iscrowd=int(segment.iscrowd)))
        # pycocotools counts down the columns, so it wants (H, W, N) in Fortran's order
        columns: npt.NDArray[np.uint8] = masks.transpose(1, 2).contiguous().cpu().numpy().view(np.uint8).T
        found = zip(scores.tolist(), classes.tolist(), run_lengths.encode(columns), strict=True)
        for score, category, mask in found:
            if category in self.things:
                self._predicted.append(self._row(self._predicted, category, mask, score=score))

    def _row(self, rows: list[dict[str, Any]], category: int, mask: dict[str, Any], **more: float) -> dict[str, Any]:
        """An annotation as pycocotools has it. Ids count from 1, because it takes a match with id 0 for none."""
        return {
            "id": len(rows) + 1,
            "image_id": len(self._sizes),
            "category_id": category,
            "segmentation": mask,
            "area": int(run_lengths.area(mask)),
            **more,
        }

    def average_precision(self) -> AveragePrecision:
        """AP of the images so far. Nothing is printed."""
        categories = {row["category_id"] for row in self._truth if not row["iscrowd"]}
        if not categories:
            return AveragePrecision(None, None, None, None, None, None, 0)
        with redirect_stdout(io.StringIO()):
            scorer = COCOeval(self._coco(self._truth), self._coco(self._predicted), "segm")
            scorer.evaluate()
            scorer.accumulate()
            scorer.summarize()
        # -1 says that there was nothing to find
        ap, ap50, ap75, aps, apm, apl = (100 * float(v) if v >= 0 else None for v in scorer.stats[:6])
        return AveragePrecision(ap, ap50, ap75, aps, apm, apl, len(categories))

    def _coco(self, rows: list[dict[str, Any]]) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(self._sizes, start=1)],
            "categories": [{"id": category} for category in sorted(self.things)],
            "annotations": rows,
        }
        coco.createIndex()
        return coco

"""mIoU by hand, and the rules of detectron2's evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from effbench.errors import InputError
from effbench.quality import PanopticMap, SegmentInfo, class_iou, confusion_matrix, mean_iou

ROAD, CAR, SKY = 0, 1, 2


def row(*ids: int) -> np.ndarray[Any, Any]:
    return np.array([ids])


def panoptic(ids: np.ndarray[Any, Any], *segments: tuple[Any, ...]) -> PanopticMap:
    return PanopticMap(ids, [SegmentInfo(*s) for s in segments])


def test_miou_by_hand() -> None:
    # Two cars, 3 and 1 pixels; a road of 4; one void pixel, where the prediction is as bad as can be.
    truth = panoptic(row(7, 7, 7, 9, 5, 5, 5, 5, 0), (7, CAR), (9, CAR), (5, ROAD))
    predicted = row(CAR, CAR, ROAD, CAR, ROAD, ROAD, ROAD, SKY, SKY)
    confusion = confusion_matrix(truth, predicted, 3)
    assert confusion.tolist() == [[3, 0, 1], [1, 3, 0], [0, 0, 0]]
    np.testing.assert_allclose(class_iou(confusion), [100 * 3 / 5, 100 * 3 / 4, np.nan])
    assert mean_iou(confusion) == (pytest.approx((60 + 75) / 2), 2), "the sky is predicted, but is not in the truth"


def test_images_add_up_before_the_mean() -> None:
    road, car = panoptic(row(1, 1, 1), (1, ROAD)), panoptic(row(1, 1, 0), (1, CAR))
    confusions = [confusion_matrix(road, row(ROAD, ROAD, CAR), 2), confusion_matrix(car, row(CAR, ROAD, CAR), 2)]
    assert [mean_iou(c).miou for c in confusions] == pytest.approx([100 * 2 / 3, 50])
    # road: 2 of 3 + 1 wrong; car: 1 of 2 + 1 wrong
    assert mean_iou(sum(confusions[1:], confusions[0])) == (pytest.approx((100 * 2 / 4 + 100 * 1 / 3) / 2), 2)


def test_a_crowd_counts_for_its_category_and_an_unlisted_id_for_nothing() -> None:
    truth = panoptic(row(1, 1, 2, 2, 99, 99), (1, CAR, True), (2, ROAD))
    confusion = confusion_matrix(truth, row(CAR, CAR, ROAD, ROAD, CAR, ROAD), 2)
    assert confusion.tolist() == [[2, 0], [0, 2]]


def test_nothing_to_find() -> None:
    confusion = confusion_matrix(panoptic(row(0, 0)), row(CAR, SKY), 3)
    assert not confusion.any()
    assert mean_iou(confusion) == (0.0, 0)


def test_equals_a_count_pixel_by_pixel() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        ids, predicted = rng.integers(0, 6, (9, 11)), rng.integers(0, 4, (9, 11))
        categories = rng.integers(0, 4, 6)
        expected = np.zeros((4, 4), dtype=int)
        for id_, found in zip(ids.flat, predicted.flat, strict=True):
            if id_ != 0:
                expected[categories[id_], found] += 1
        truth = panoptic(ids, *((i, int(categories[i])) for i in range(1, 6)))
        np.testing.assert_array_equal(confusion_matrix(truth, torch.from_numpy(predicted), 4), expected)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (row(0, 0, 0), r"has shape \(1, 3\), the ground truth \(1, 2\)"),
        (row(0, 3), "classes from 0 to 3; expected contiguous indices from 0 to 2"),
        (row(-1, 0), "semantic prediction has classes from -1"),
        (row(0, 0).astype(float), "integers, got .* float64"),
    ],
)
def test_unusable_predictions_are_refused(predicted: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        confusion_matrix(panoptic(row(1, 1), (1, CAR)), predicted, 3)


def test_categories_that_are_not_contiguous_are_refused() -> None:
    with pytest.raises(InputError, match="ground truth has classes from 40 to 40"):
        confusion_matrix(panoptic(row(1, 1), (1, 40)), row(0, 0), 3)

"""AP on cases that are worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from effbench.errors import InputError
from effbench.quality import InstanceScorer, PanopticMap, SegmentInfo

CAT, DOG, SKY = 0, 1, 2
SIDE = 40


def box(top: int, left: int, bottom: int, right: int) -> Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def truth(*segments: tuple[Tensor, int] | tuple[Tensor, int, bool]) -> PanopticMap:
    ids = torch.zeros(SIDE, SIDE, dtype=torch.int32)
    for number, (mask, *_) in enumerate(segments, start=1):
        ids[mask] = number
    return PanopticMap(ids, [SegmentInfo(n, *rest) for n, (_, *rest) in enumerate(segments, start=1)])


def predicted(*rows: tuple[float, int, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    scores, classes, masks = zip(*rows, strict=True)
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(classes), torch.stack(masks)


NOTHING = torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, SIDE, SIDE, dtype=torch.bool)


def test_ap_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    # Cats: two of 10 x 10 in one image, and one of 33 x 33 = 1089 pixels, medium, in another. In order of score:
    #   0.9 the first small cat, all of it              IoU 1
    #   0.8 no cat at all, 5 x 5 pixels
    #   0.7 the medium cat but for 3 of its 33 columns  IoU 30/33 = 0.909...
    # and the second small cat is not found.
    # At IoU 0.5 to 0.9 (9 of 10 thresholds) they are hit, miss, hit: precision 1 up to recall 1/3, then 2/3 up to
    # recall 2/3, then 0. Of the 101 recalls 0, 0.01, ..., 1 there are 34 up to 0.33, and 33 from 0.34 to 0.66.
    # At IoU 0.95 they are hit, miss, miss: precision 1 up to recall 1/3.
    scorer = InstanceScorer({CAT, DOG})
    first = truth((box(0, 0, 10, 10), CAT), (box(20, 20, 30, 30), CAT), (box(35, 0, 40, 40), SKY))
    scorer.add(first, *predicted((0.9, CAT, box(0, 0, 10, 10)), (0.8, CAT, box(0, 30, 5, 35))))
    second = truth((box(2, 2, 35, 35), CAT))
    scorer.add(second, *predicted((0.7, CAT, box(2, 2, 35, 32)), (0.99, SKY, box(0, 0, 2, 40))))
    at_most, at_95 = (34 + 33 * 2 / 3) / 101, 34 / 101
    # Small: two cats, and the miss counts because it is small. Precision 1 up to recall 1/2: 51 recalls.
    # Medium: one cat, found at nine thresholds; the small miss has no part in it.
    result = scorer.average_precision()
    assert result._asdict() == {
        "ap": pytest.approx(100 * (0.9 * at_most + 0.1 * at_95)),
        "ap50": pytest.approx(100 * at_most),
        "ap75": pytest.approx(100 * at_most),
        "aps": pytest.approx(100 * 51 / 101),
        "apm": pytest.approx(90),
        "apl": None,
        "categories": 1,
    }
    assert capsys.readouterr().out == ""


def test_the_mean_is_over_the_categories_of_the_truth() -> None:
    scorer = InstanceScorer({CAT, DOG})
    cat, dog = box(0, 0, 10, 10), box(20, 0, 30, 10)
    scorer.add(truth((cat, CAT), (dog, DOG)), *predicted((0.5, CAT, cat), (0.4, CAT, dog)))
    result = scorer.average_precision()
    assert (result.ap, result.categories) == (pytest.approx(50), 2)


def test_a_crowd_excuses_what_lies_in_it_and_is_not_missed() -> None:
    cat, crowd = box(0, 0, 10, 10), box(20, 0, 40, 40)
    for inside, expected in [(box(22, 2, 30, 20), 100.0), (box(12, 0, 18, 20), 50.0)]:
        scorer = InstanceScorer({CAT})
        # surer than the true cat: a false positive would halve the precision
        scorer.add(truth((cat, CAT), (crowd, CAT, True)), *predicted((0.9, CAT, inside), (0.5, CAT, cat)))
        assert scorer.average_precision().ap == pytest.approx(expected)


def test_predictions_in_an_image_without_truth_count() -> None:
    scorer = InstanceScorer({CAT})
    scorer.add(truth((box(0, 0, 10, 10), CAT)), *predicted((0.5, CAT, box(0, 0, 10, 10))))
    assert scorer.average_precision().ap == pytest.approx(100)
    scorer.add(truth(), *predicted((0.9, CAT, box(0, 0, 10, 10))))
    assert scorer.average_precision().ap == pytest.approx(50)


def test_nothing_predicted_is_0_and_nothing_to_find_is_none() -> None:
    scorer = InstanceScorer({CAT})
    scorer.add(truth((box(0, 0, 5, 5), SKY), (box(20, 20, 30, 30), CAT, True)), *NOTHING)
    assert scorer.average_precision() == (None, None, None, None, None, None, 0)
    scorer.add(truth((box(0, 0, 5, 5), CAT)), *NOTHING)
    assert scorer.average_precision() == (0.0, 0.0, 0.0, 0.0, None, None, 1)


def test_a_data_set_without_things() -> None:
    scorer = InstanceScorer(())
    scorer.add(truth((box(0, 0, 5, 5), SKY)), *predicted((0.9, CAT, box(0, 0, 5, 5))))
    assert scorer.average_precision().categories == 0


def test_only_run_lengths_are_kept() -> None:
    scorer = InstanceScorer({CAT})
    masks = torch.stack([box(0, 0, 1 + i % SIDE, SIDE) for i in range(100)])
    scorer.add(truth((box(0, 0, 9, 9), CAT)), torch.linspace(0, 1, 100), torch.full((100,), CAT), masks)
    kept = [row["segmentation"]["counts"] for row in scorer._predicted]
    assert len(kept) == 100
    assert sum(map(len, kept)) < math.prod(masks.shape) / 10


@pytest.mark.parametrize(
    ("scores", "classes", "masks"),
    [
        (torch.zeros(2), torch.zeros(1), torch.zeros(2, SIDE, SIDE, dtype=torch.bool)),
        (torch.zeros(1), torch.zeros(1), torch.zeros(2, SIDE, SIDE, dtype=torch.bool)),
        (torch.zeros(1), torch.zeros(1), torch.zeros(1, SIDE, 3, dtype=torch.bool)),
        (torch.zeros(1), torch.zeros(1), torch.zeros(1, SIDE, SIDE)),
    ],
)
def test_predictions_that_do_not_fit_are_refused(scores: Tensor, classes: Tensor, masks: Tensor) -> None:
    with pytest.raises(InputError, match=r"expected as many of each, and masks \(N, 40, 40\) of torch.bool"):
        InstanceScorer({CAT}).add(truth(), scores, classes, masks)

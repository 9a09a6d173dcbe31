"""PQ by size, on segments whose areas stand on the bounds."""

from __future__ import annotations

import numpy as np
import pytest

from effbench.quality import CategoryStats, PanopticMap, SegmentInfo, accumulate, by_size, image_stats, match_segments

CAR, SKY = 1, 2
SMALL, MEDIUM = 32**2, 96**2


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """Runs of (id, length) as a map of one row."""
    return np.concatenate([np.full(length, segment) for segment, length in runs])[None]


def panoptic(id_map: np.ndarray, *segments: tuple[int, int]) -> PanopticMap:
    return PanopticMap(id_map, [SegmentInfo(*s) for s in segments])


@pytest.mark.parametrize(
    ("area", "size"), [(SMALL - 1, "small"), (SMALL, "medium"), (MEDIUM - 1, "medium"), (MEDIUM, "large")]
)
def test_a_size_begins_at_its_bound(area: int, size: str) -> None:
    truth = panoptic(strip((1, area), (0, 5)), (1, CAR))
    hit = by_size(match_segments(truth, truth))
    missed = by_size(match_segments(truth, panoptic(strip((0, area + 5)))))
    assert list(hit) == ["small", "medium", "large"]
    for name in hit:
        assert hit[name] == ({CAR: CategoryStats(1.0, 1)} if name == size else {})
        assert missed[name] == ({CAR: CategoryStats(0.0, 0, 0, 1)} if name == size else {})


def test_a_pair_has_the_truths_size_and_a_false_positive_its_own() -> None:
    # A car of 1200 pixels, of which 1000 are found: small as predicted, medium in truth. Sky of 12000 pixels is called
    # a car for 900 of them and sky for the rest, so the last 900 are a false positive of its own, small size.
    truth = panoptic(strip((1, 1200), (2, 12000)), (1, CAR), (2, SKY))
    found = panoptic(strip((5, 1000), (0, 200), (6, 11100), (7, 900)), (5, CAR), (6, SKY), (7, CAR))
    assert by_size(match_segments(truth, found)) == {
        "small": {CAR: CategoryStats(0.0, 0, 1, 0)},
        "medium": {CAR: CategoryStats(1000 / 1200, 1)},
        "large": {SKY: CategoryStats(11100 / 12000, 1)},
    }


def test_sizes_add_up_to_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        runs, other = (
            [(int(i), int(n)) for i, n in zip(rng.permutation(9), rng.integers(1, 12000, 9), strict=True)]
            for _ in range(2)
        )
        width = min(sum(n for _, n in runs), sum(n for _, n in other))
        ids, predicted = strip(*runs)[:, :width], strip(*other)[:, :width]
        if rng.random() < 0.5:
            predicted = np.roll(ids, 300)
        truth = panoptic(ids, *((i, CAR + i % 2) for i in range(1, 9)))
        found = panoptic(predicted, *((int(i), CAR + int(i) % 2) for i in np.unique(predicted) if i))
        sizes = by_size(match_segments(truth, found))
        total = accumulate(sizes.values())
        whole = image_stats(truth, found)
        assert total.keys() == whole.keys()
        for category, stats in whole.items():
            assert total[category].iou_sum == pytest.approx(stats.iou_sum)
            assert (total[category].tp, total[category].fp, total[category].fn) == (stats.tp, stats.fp, stats.fn)


def test_a_crowd_and_what_lies_on_void_have_no_size() -> None:
    truth = PanopticMap(strip((1, 50), (0, 50)), [SegmentInfo(1, CAR, True)])
    found = panoptic(strip((3, 50), (4, 50)), (3, CAR), (4, SKY))
    assert match_segments(truth, found) == []
    assert by_size([]) == {"small": {}, "medium": {}, "large": {}}

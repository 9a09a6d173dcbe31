"""PQ against hand counts, against masks compared one by one, and against the released evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from effbench.errors import InputError
from effbench.quality import (
    CategoryStats,
    ImageStats,
    PanopticMap,
    SegmentInfo,
    accumulate,
    image_pq,
    image_stats,
    panoptic_quality,
    summarise,
)

PERSON, CAR, SKY = 1, 2, 3
CATEGORIES = (PERSON, CAR, SKY)


def strip(*runs: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Runs of (id, length) as a map of one row."""
    return np.concatenate([np.full(length, segment, dtype=np.int64) for segment, length in runs])[None]


def panoptic(id_map: npt.NDArray[Any] | torch.Tensor, *segments: tuple[Any, ...]) -> PanopticMap:
    return PanopticMap(id_map, [SegmentInfo(*s) for s in segments])


def brute_force(ground_truth: PanopticMap, prediction: PanopticMap) -> dict[int, list[float]]:
    """One boolean mask per segment and every pair compared, as the paper and the evaluator's rules read."""
    truth_map, predicted_map = np.asarray(ground_truth.id_map), np.asarray(prediction.id_map)
    void = truth_map == 0
    counts = {c: [0.0, 0, 0, 0] for c in CATEGORIES}
    last_crowd = {g.category: truth_map == g.id for g in ground_truth.segments if g.iscrowd}
    matched_truth, matched_prediction = set(), set()
    for p in prediction.segments:
        p_mask = predicted_map == p.id
        for g in ground_truth.segments:
            g_mask = truth_map == g.id
            iou = (p_mask & g_mask).sum() / max(((p_mask & ~void) | g_mask).sum(), 1)
            if iou > 0.5 and g.category == p.category and not g.iscrowd:
                matched_truth.add(g.id)
                matched_prediction.add(p.id)
                counts[g.category][0] += iou
                counts[g.category][1] += 1
        if p.id not in matched_prediction:
            ignored = void | last_crowd.get(p.category, np.zeros_like(void))
            counts[p.category][2] += int((p_mask & ignored).sum() / p_mask.sum() <= 0.5)
    for g in ground_truth.segments:
        counts[g.category][3] += int(g.id not in matched_truth and not g.iscrowd)
    return {c: count for c, count in counts.items() if sum(count[1:])}


def random_pair(seed: int) -> tuple[PanopticMap, PanopticMap]:
    """Blocky ground truth with void, crowds and an id off its table; a prediction that half agrees."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(4, 40, size=2)
    cells = rng.integers(0, 9, size=(4, 5))
    index = cells[np.arange(height) * 4 // height][:, np.arange(width) * 5 // width]
    ids = np.concatenate([[0], 1 + rng.choice(2**24 - 1, size=9, replace=False)])
    # The last id is in the table and not in the map, the last but one the other way round.
    category = rng.choice(CATEGORIES, size=10)
    segments = [SegmentInfo(int(ids[i]), int(category[i]), bool(rng.random() < 0.25)) for i in (1, 2, 3, 4, 5, 6, 7, 9)]
    predicted = np.roll(index, rng.integers(0, 3, size=2), axis=(0, 1))
    noise = rng.random(index.shape) < rng.choice([0, 0.1, 0.4])
    predicted = np.where(noise, rng.integers(0, 9, size=index.shape), predicted)
    names = np.concatenate([[0], 1 + rng.choice(2**24 - 1, size=8, replace=False)])
    table = [
        SegmentInfo(int(names[i]), int(category[i] if rng.random() < 0.7 else rng.choice(CATEGORIES)))
        for i in np.unique(predicted[predicted > 0])
    ]
    return PanopticMap(ids[index], segments), PanopticMap(names[predicted], table)


def assert_equal(stats: dict[int, CategoryStats], expected: dict[int, list[float]]) -> None:
    assert stats.keys() == expected.keys()
    for category, (iou_sum, *counts) in expected.items():
        assert stats[category].iou_sum == pytest.approx(iou_sum, abs=1e-9)
        assert [stats[category].tp, stats[category].fp, stats[category].fn] == counts


def test_perfect_prediction_is_100() -> None:
    id_map = np.array([[1, 1, 2], [1, 2, 2], [0, 7, 7]])
    segments = [(1, PERSON), (2, PERSON), (7, SKY)]
    result = panoptic_quality(panoptic(id_map, *segments), panoptic(id_map, *segments))
    assert result == (100.0, 100.0, 100.0, 2)


def test_iou_of_exactly_half_is_no_match() -> None:
    truth = panoptic(strip((1, 6), (2, 4)), (1, PERSON), (2, SKY))
    half = panoptic(strip((1, 3), (2, 7)), (1, PERSON), (2, SKY))  # person 3/6, sky 4/7
    assert image_stats(truth, half) == {
        PERSON: CategoryStats(0.0, 0, 1, 1),
        SKY: CategoryStats(4 / 7, 1, 0, 0),
    }
    more = panoptic(strip((1, 4), (2, 6)), (1, PERSON), (2, SKY))  # 4/6 and 4/6
    assert image_stats(truth, more) == {PERSON: CategoryStats(4 / 6, 1), SKY: CategoryStats(4 / 6, 1)}


def test_pq_is_sq_times_rq() -> None:
    # IoU 0.8; one false positive and two false negatives: PQ = 0.8 / (1 + 0.5 + 1).
    truth = panoptic(strip((1, 10), (2, 5), (3, 5), (0, 1)), (1, CAR), (2, CAR), (3, CAR))
    prediction = panoptic(strip((9, 8), (0, 2), (5, 2), (0, 3), (5, 2), (0, 4)), (9, CAR), (5, CAR))
    result = panoptic_quality(truth, prediction)
    assert result == pytest.approx((32.0, 80.0, 40.0, 1))
    assert result.pq == pytest.approx(result.sq * result.rq / 100)


def test_void_leaves_the_union() -> None:
    truth = panoptic(strip((1, 6), (0, 6)), (1, PERSON))
    prediction = panoptic(strip((4, 12)), (4, PERSON))
    assert image_stats(truth, prediction) == {PERSON: CategoryStats(1.0, 1)}


@pytest.mark.parametrize(("on_void", "false_positives"), [(5, 1), (6, 0)])
def test_prediction_mostly_on_void_is_ignored(on_void: int, false_positives: int) -> None:
    truth = panoptic(strip((0, on_void), (1, 90 - on_void)), (1, SKY))
    prediction = panoptic(strip((3, 10), (4, 80)), (3, PERSON), (4, SKY))
    assert image_stats(truth, prediction).get(PERSON, CategoryStats()).fp == false_positives


def test_id_off_the_ground_truth_table_is_not_void() -> None:
    truth = panoptic(strip((1, 6), (99, 7)), (1, PERSON))
    prediction = panoptic(strip((4, 13)), (4, PERSON))
    assert image_stats(truth, prediction) == {PERSON: CategoryStats(0.0, 0, 1, 1)}


def test_crowd_is_neither_missed_nor_matched() -> None:
    truth = panoptic(strip((1, 10)), (1, PERSON, True))
    assert image_stats(truth, panoptic(strip((0, 10)))) == {}
    assert image_stats(truth, panoptic(strip((1, 10)), (1, PERSON))) == {}
    assert image_stats(truth, panoptic(strip((1, 10)), (1, CAR))) == {CAR: CategoryStats(0.0, 0, 1, 0)}


def test_crowd_and_void_add_up_and_the_last_crowd_counts() -> None:
    id_map = strip((0, 3), (1, 3), (2, 4))
    prediction = panoptic(strip((5, 6), (0, 4)), (5, PERSON))
    near, far = (1, PERSON, True), (2, PERSON, True)
    assert image_stats(panoptic(id_map, far, near), prediction) == {}
    assert image_stats(panoptic(id_map, near, far), prediction) == {PERSON: CategoryStats(0.0, 0, 1, 0)}


def test_wrong_category_is_false_positive_and_false_negative() -> None:
    stats = image_stats(panoptic(strip((1, 10)), (1, PERSON)), panoptic(strip((1, 10)), (1, CAR)))
    assert stats == {PERSON: CategoryStats(0.0, 0, 0, 1), CAR: CategoryStats(0.0, 0, 1, 0)}


def test_nothing_predicted_and_nothing_to_find() -> None:
    nothing, something = panoptic(strip((0, 10))), panoptic(strip((1, 10)), (1, CAR))
    assert image_stats(something, nothing) == {CAR: CategoryStats(0.0, 0, 0, 1)}
    assert image_stats(nothing, something) == {}  # all void
    assert image_stats(nothing, nothing) == {}
    assert panoptic_quality(nothing, nothing) == (0.0, 0.0, 0.0, 0)


def test_ground_truth_segment_without_pixels_is_missed() -> None:
    truth = panoptic(strip((0, 10)), (1, CAR))
    assert image_stats(truth, panoptic(strip((3, 10)), (3, CAR))) == {CAR: CategoryStats(0.0, 0, 0, 1)}


def test_accumulation_differs_from_the_mean_of_images() -> None:
    hit = panoptic(strip((1, 10)), (1, CAR))
    two = panoptic(strip((1, 5), (2, 5)), (1, CAR), (2, CAR))
    nothing = panoptic(strip((0, 10)))
    stats = [image_stats(hit, hit), image_stats(two, nothing)]
    assert [image_pq(s) for s in stats] == [100.0, 0.0]
    assert accumulate(stats) == {CAR: CategoryStats(1.0, 1, 0, 2)}
    assert panoptic_quality([hit, two], [hit, nothing]) == (50.0, 100.0, 50.0, 1)
    assert panoptic_quality(iter([hit]), iter([hit])).pq == 100.0


def test_summary_averages_the_categories_present() -> None:
    totals = {PERSON: CategoryStats(0.8, 1, 0, 2), CAR: CategoryStats(), SKY: CategoryStats(0.9, 1)}
    summary = summarise(totals, things={PERSON, CAR}, stuff={SKY, 40})
    assert summary["things"] == pytest.approx((40.0, 80.0, 50.0, 1))
    assert summary["stuff"] == pytest.approx((90.0, 90.0, 100.0, 1))
    assert summary["all"] == pytest.approx((65.0, 85.0, 75.0, 2))
    assert summarise({}, {PERSON}, {SKY})["things"] == (0.0, 0.0, 0.0, 0)


def test_summary_refuses_categories_it_cannot_place() -> None:
    with pytest.raises(InputError, match=r"\[3\] are neither"):
        summarise({SKY: CategoryStats(0.9, 1)}, things={PERSON}, stuff={CAR})
    with pytest.raises(InputError, match=r"\[1\] are both"):
        summarise({}, things={PERSON}, stuff={PERSON})


def test_statistics_survive_json() -> None:
    stats = image_stats(*random_pair(3))
    assert stats
    restored = ImageStats.from_json(json.loads(json.dumps(stats.to_json())))
    assert restored == stats
    assert image_pq(restored) == image_pq(stats)


@pytest.mark.parametrize(
    "data", [[], {"x": [0.0, 0, 0, 1]}, {"1": [0.9, 1]}, {"1": [0.9, 1.5, 0, 0]}, {"1": [0.9, -1, 0, 0]}]
)
def test_json_of_another_form_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="expected statistics"):
        ImageStats.from_json(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_integer_dtypes_layouts_and_tensors_agree(dtype: npt.DTypeLike) -> None:
    id_map, segments = np.arange(12).reshape(3, 4) // 3, [(1, PERSON), (2, CAR), (3, SKY)]
    expected = image_stats(panoptic(id_map, *segments), panoptic(id_map.clip(max=2), *segments[:2]))
    assert expected
    cast: npt.NDArray[Any] = np.asfortranarray(id_map.astype(dtype))
    prediction = panoptic(torch.from_numpy(id_map.clip(max=2)), *segments[:2])
    assert image_stats(panoptic(cast, *segments), prediction) == expected


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (panoptic(strip((1, 5), (6, 5)), (1, CAR)), r"map has ids \[6\]"),
        (panoptic(strip((1, 10)), (1, CAR), (8, CAR)), r"lists segments \[8\]"),
        (panoptic(strip((1, 10)), (1, CAR), (1, SKY)), "lists id 1 twice"),
        (panoptic(strip((0, 10)), (0, CAR)), "0, which is void"),
        (panoptic(strip((1, 9)), (1, CAR)), r"shape \(1, 9\), the ground truth \(1, 10\)"),
        (panoptic(strip((1, 10))[0], (1, CAR)), r"prediction's id map must be .* got shape \(10,\)"),
        (panoptic(strip((1, 10)).astype(float), (1, CAR)), "integers, got .* float64"),
        (panoptic(np.zeros((0, 4), dtype=int)), "non-empty"),
    ],
)
def test_unusable_predictions_are_refused(prediction: PanopticMap, message: str) -> None:
    with pytest.raises(InputError, match=message):
        image_stats(panoptic(strip((1, 10)), (1, CAR)), prediction)


def test_images_must_pair_up() -> None:
    image = panoptic(strip((1, 10)), (1, CAR))
    with pytest.raises(InputError, match="image 1 has no prediction"):
        panoptic_quality([image, image], [image])
    with pytest.raises(InputError, match="image 0 has no ground truth"):
        panoptic_quality([], [image])


def test_equals_brute_force() -> None:
    for seed in range(400):
        pair = random_pair(seed)
        assert_equal(image_stats(*pair), brute_force(*pair))


def test_random_pairs_reach_every_rule() -> None:
    """The comparisons prove something only if their inputs hold all kinds of segments."""
    pairs = [random_pair(seed) for seed in range(60)]
    totals = accumulate(image_stats(*pair) for pair in pairs)
    assert min(min(t.tp, t.fp, t.fn) for t in totals.values()) > 5
    ignored = sum(len(p.segments) for _, p in pairs) - sum(t.tp + t.fp for t in totals.values())
    assert ignored > 5
    crowded = sum(sum(s.iscrowd for s in g.segments) > 1 for g, _ in pairs)
    assert crowded > 5


def test_equals_panopticapi(tmp_path: Path) -> None:
    evaluation = pytest.importorskip(
        "panopticapi.evaluation",
        reason="the referee is not on the package index: pip install git+https://github.com/cocodataset/panopticapi",
    )
    from PIL import Image

    for folder in ("truth", "prediction"):
        (tmp_path / folder).mkdir()

    def annotation(image: PanopticMap, folder: str, name: str) -> dict[str, Any]:
        ids = np.asarray(image.id_map)
        Image.fromarray(np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)).save(
            tmp_path / folder / name
        )
        return {
            "image_id": name,
            "file_name": name,
            "segments_info": [
                {
                    "id": s.id,
                    "category_id": s.category,
                    "iscrowd": int(s.iscrowd),
                    "area": int((ids == s.id).sum()),
                }
                for s in image.segments
            ],
        }

    pairs = [random_pair(seed) for seed in range(60)]
    annotations = [
        (annotation(truth, "truth", f"{i}.png"), annotation(prediction, "prediction", f"{i}.png"))
        for i, (truth, prediction) in enumerate(pairs)
    ]
    categories = {c: {"id": c, "isthing": int(c != SKY)} for c in CATEGORIES}

    def referee(chosen: list[Any]) -> Any:
        return evaluation.pq_compute_single_core(
            0, chosen, str(tmp_path / "truth"), str(tmp_path / "prediction"), categories
        )

    for pair, chosen in zip(pairs, annotations, strict=True):
        per_category = referee([chosen]).pq_per_cat
        assert_equal(image_stats(*pair), {c: [s.iou, s.tp, s.fp, s.fn] for c, s in per_category.items()})

    expected = referee(annotations)
    summary = summarise(accumulate(image_stats(*pair) for pair in pairs), {PERSON, CAR}, {SKY})
    for name, isthing in (("all", None), ("things", True), ("stuff", False)):
        average, _ = expected.pq_average(categories, isthing)
        assert summary[name] == pytest.approx(
            (100 * average["pq"], 100 * average["sq"], 100 * average["rq"], average["n"]), abs=1e-9
        )

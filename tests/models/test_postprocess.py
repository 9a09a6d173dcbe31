"""From predictions to maps: the release's numbers, and the rules on hand-made masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from effbench.models import postprocess
from effbench.models.postprocess import PanopticSegment, instances, panoptic, resize_masks, semantic, semantic_map

FIXTURE = Path(__file__).parents[1] / "fixtures/postprocess.npz"
CLASSES = 4  # 0 and 1 are things, 2 and 3 are stuff, 4 is no object
THINGS = {0, 1}


@pytest.fixture(scope="module")
def theirs() -> Iterator[Mapping[str, np.ndarray]]:
    with np.load(FIXTURE) as arrays:
        yield {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def prediction(theirs: Mapping[str, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(theirs["logits"]), torch.from_numpy(theirs["masks"])


def test_semantic_is_the_releases(theirs: Mapping[str, np.ndarray], prediction: tuple[Tensor, Tensor]) -> None:
    ours = semantic(*prediction)
    assert ours.shape == (19, 64, 96)
    np.testing.assert_allclose(ours[:, ::4, ::4], theirs["semantic"], rtol=0, atol=1e-5)


def test_panoptic_is_the_releases(theirs: Mapping[str, np.ndarray], prediction: tuple[Tensor, Tensor]) -> None:
    ids, segments = panoptic(*prediction, theirs["things"].tolist())
    assert ids.dtype == torch.int32
    np.testing.assert_array_equal(ids, theirs["ids"])
    assert [(s.id, s.category, s.isthing) for s in segments] == [tuple(row) for row in theirs["segments"].tolist()]


@pytest.mark.parametrize("kept", ["things", "all"])
def test_instances_are_the_releases(
    kept: str, theirs: Mapping[str, np.ndarray], prediction: tuple[Tensor, Tensor]
) -> None:
    ours = instances(*prediction, top_k=10, only=theirs["things"].tolist() if kept == "things" else None)
    expected = {key: theirs[f"instances.{kept}.{key}"] for key in ("scores", "classes", "masks")}
    assert len(ours.scores) == len(expected["scores"])
    order, theirs_order = ours.scores.argsort(), expected["scores"].argsort()  # neither side sorts
    np.testing.assert_allclose(ours.scores[order], expected["scores"][theirs_order], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.classes[order], expected["classes"][theirs_order])
    np.testing.assert_array_equal(ours.masks[order], expected["masks"][theirs_order])


def scored(*labels: tuple[int, float]) -> Tensor:
    """Logits (Q, K+1) whose softmax gives each query's label its probability, the rest spread evenly."""
    probabilities = torch.zeros(len(labels), CLASSES + 1, dtype=torch.float64)
    for row, (label, probability) in zip(probabilities, labels, strict=True):
        row.fill_((1 - probability) / CLASSES)
        row[label] = probability
    return probabilities.log()


def masks(*rows: str) -> Tensor:
    """Mask logits (Q, 1, W): '#' is surely inside, '+' likely, '.' surely outside."""
    logits = {"#": 8.0, "+": 1.0, ".": -8.0}
    return torch.tensor([[[logits[c] for c in row]] for row in rows], dtype=torch.float64)


def test_stuff_of_one_class_becomes_one_segment_and_things_stay_apart() -> None:
    logits = scored((2, 0.95), (0, 0.95), (2, 0.95), (0, 0.95))
    ids, segments = panoptic(logits, masks("##......", "..##....", "....##..", "......##"), THINGS)
    assert ids.tolist() == [[1, 1, 2, 2, 1, 1, 3, 3]]
    assert segments == [
        PanopticSegment(1, 2, False),
        PanopticSegment(2, 0, True),
        PanopticSegment(3, 0, True),
    ]
    assert not any(s.iscrowd for s in segments)


@pytest.mark.parametrize(("left", "kept"), [(8, True), (7, False)])
def test_a_query_keeps_its_pixels_from_four_fifths_on(left: int, kept: bool) -> None:
    """The first query claims ten pixels and the second, surer one takes 10 - `left` of them."""
    shared = 10 - left
    logits = scored((0, 0.85), (1, 0.99))
    ids, segments = panoptic(logits, masks("+" * 10 + ".." * 5, "." * left + "#" * (shared + 10)), THINGS)
    assert [s.category for s in segments] == ([0, 1] if kept else [1])
    assert (ids[0, :left] == 1).all() == kept
    assert (ids[0, left:] == len(segments)).all()


def test_overlap_threshold_is_a_parameter() -> None:
    arguments = scored((0, 0.85), (1, 0.99)), masks("++++", ".###"), THINGS
    assert [s.category for s in panoptic(*arguments)[1]] == [1]
    assert [s.category for s in panoptic(*arguments, overlap_threshold=0.25)[1]] == [0, 1]
    assert [s.category for s in panoptic(*arguments, overlap_threshold=0.26)[1]] == [1]


def test_unsure_and_empty_queries_are_left_out() -> None:
    logits = scored((0, 0.79), (1, 0.81), (4, 0.99), (3, 0.9))
    ids, segments = panoptic(logits, masks("##....", "..##..", "....##", "......"), THINGS)
    assert ids.tolist() == [[0, 0, 1, 1, 0, 0]]
    assert segments == [PanopticSegment(1, 1, True)]
    assert len(panoptic(logits, masks("##....", "..##..", "....##", "......"), THINGS, object_threshold=0.78)[1]) == 2


def test_a_pixel_that_its_winner_does_not_claim_stays_empty() -> None:
    ids, _ = panoptic(scored((0, 0.95)), torch.tensor([[[8.0, 0.0, -1e-3]]], dtype=torch.float64), THINGS, 0.8, 0.0)
    assert ids.tolist() == [[1, 1, 0]], "a probability of one half is a claim"


@pytest.mark.parametrize("queries", [0, 2])
def test_nothing_predicted(queries: int) -> None:
    logits = scored(*[(4, 0.99)] * queries)
    ids, segments = panoptic(logits, torch.full((queries, 3, 5), 8.0), THINGS)
    assert segments == []
    assert torch.equal(ids, torch.zeros(3, 5, dtype=torch.int32))


def test_semantic_weighs_class_by_mask_probability() -> None:
    given = masks("#+.", "..#")
    scores = semantic(scored((0, 0.9), (2, 0.6)), given)
    expected = 0.9 * given[0, 0].sigmoid() + 0.1 * given[1, 0].sigmoid()
    torch.testing.assert_close(scores[0, 0], expected)
    assert scores.shape == (CLASSES, 1, 3)


@pytest.mark.parametrize("numbers", [1, 20_000, 2**26])
def test_the_semantic_map_is_the_best_class_whatever_fits_into_memory(
    numbers: int, prediction: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 000 numbers are a few rows of the 64, which they do not divide."""
    shapes: list[torch.Size] = []

    def watched(logits: Tensor, masks: Tensor) -> Tensor:
        shapes.append(masks.shape)
        return semantic(logits, masks)

    monkeypatch.setattr(postprocess, "SEMANTIC_NUMBERS", numbers)
    monkeypatch.setattr(postprocess, "semantic", watched)
    found = semantic_map(*prediction)
    assert found.dtype == torch.int64
    assert torch.equal(found, semantic(*prediction).argmax(0))
    queries, rows, width = shapes[0]
    assert rows == {1: 1, 20_000: 20_000 // ((queries + 19) * 96), 2**26: 64}[numbers]
    assert width == 96 and sum(shape[1] for shape in shapes) == 64


def test_an_instance_scores_by_class_and_by_the_mask_inside() -> None:
    given = masks("#+..", "....")
    result = instances(scored((1, 0.9), (0, 0.5)), given, top_k=2)
    quality = (given[0, 0, :2].sigmoid().mean()).item()
    assert dict(zip(result.classes.tolist(), result.scores.tolist(), strict=True)) == {
        1: pytest.approx(0.9 * quality, abs=1e-5),
        0: 0.0,
    }
    assert result.masks.dtype == torch.bool
    assert result.masks[result.classes == 1].tolist() == [[[True, True, False, False]]]


def test_instances_of_some_classes_and_fewer_than_asked() -> None:
    logits = scored((1, 0.9), (2, 0.9))
    everything = instances(logits, masks("##", ".."), top_k=100)
    assert len(everything.scores) == 2 * CLASSES
    assert set(instances(logits, masks("##", ".."), only=THINGS).classes.tolist()) == THINGS
    assert instances(logits, masks("##", ".."), only=()).masks.shape == (0, 1, 2)


def test_masks_are_enlarged_cropped_and_resized() -> None:
    left = torch.full((1, 8, 8), -4.0)
    left[:, :, :4] = 4.0  # left half of the padded 32 x 32 input; the image is its left 20 columns
    resized = resize_masks(left, (32, 32), (24, 20), (48, 40))
    assert resized.shape == (1, 48, 40)
    assert (resized[..., :28] > 0).all() and (resized[..., 36:] < 0).all(), "the edge stands at 16 of 20 columns"
    constant = torch.full((3, 8, 8), 1.5)
    torch.testing.assert_close(resize_masks(constant, (32, 32), (30, 17), (61, 35)), torch.full((3, 61, 35), 1.5))

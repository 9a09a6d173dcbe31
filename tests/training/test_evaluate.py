"""From a model to panoptic quality."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.transforms import pad_to
from effbench.encoders.contract import EncoderOutput
from effbench.models.mask2former_decoder import Prediction
from effbench.models.segmenter import Segmenter, SegmenterOutput
from effbench.quality import ImageStats, accumulate, summarise
from effbench.training.evaluate import Inference, evaluate, per_image, predict, scores

CLASSES = 13


class Oracle(nn.Module):
    """A segmenter that has read the annotations: image i of `data` is answered when it is asked for the i-th time."""

    def __init__(self, data: CocoPanoptic, confidence: float = 20.0) -> None:
        super().__init__()
        self.data, self.confidence = data, confidence
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> SegmenterOutput:
        sample = self.data[len(self.seen)]
        self.seen.append(images)
        height, width = images.shape[-2:]
        padded = pad_to((height, width))
        queries = len(sample.segments) + 1  # one of them finds nothing
        logits = torch.full((1, queries, CLASSES + 1), 0.0)
        logits[0, -1, -1] = self.confidence
        masks = torch.full((1, queries, *padded), -20.0)
        for query, segment in enumerate(sample.segments):
            logits[0, query, segment.category] = self.confidence
            inside = (sample.id_map == segment.id)[None, None].float()
            resized = nn.functional.interpolate(inside, size=(height, width), mode="nearest")[0, 0]
            masks[0, query, :height, :width] = 40 * resized - 20
        wrong = Prediction(torch.zeros_like(logits), -masks)
        encoded = EncoderOutput(masks, (masks, masks, masks))
        return SegmenterOutput([wrong, Prediction(logits, masks)], encoded, padded)


@pytest.fixture
def data(tiny_root: Path) -> CocoPanoptic:
    return CocoPanoptic(tiny_root, "val2017")


def pq(data: CocoPanoptic, oracle: nn.Module, how: Inference) -> float:
    stats = evaluate(oracle, data, how)
    return summarise(accumulate(stats.values()), data.categories.things, data.categories.stuff)["all"].pq


def test_a_model_that_knows_the_truth_scores_100(data: CocoPanoptic) -> None:
    done: list[tuple[int, int]] = []
    oracle = Oracle(data).train()
    stats = evaluate(oracle, data, Inference(), lambda *event: done.append(event))
    groups = summarise(accumulate(stats.values()), data.categories.things, data.categories.stuff)
    assert {name: group.pq for name, group in groups.items()} == pytest.approx(
        {"all": 100, "things": 100, "stuff": 100}
    )
    assert list(stats) == [data[i].image_id for i in range(3)]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert not oracle.training


def test_scores_and_statistics_are_plain_json(data: CocoPanoptic) -> None:
    stats = evaluate(Oracle(data), data, Inference())
    kept = json.loads(json.dumps({**scores(stats, data), "per_image": per_image(stats)}))
    for group in ("all", "things", "stuff"):
        assert kept[group].keys() == {"pq", "sq", "rq", "categories"}
        assert kept[group]["pq"] == pytest.approx(100)
    assert kept["all"]["categories"] == kept["things"]["categories"] + kept["stuff"]["categories"]
    again = {int(image): ImageStats.from_json(one) for image, one in kept["per_image"].items()}
    assert scores(again, data) == scores(stats, data), "every score can be made of them again"
    assert again.keys() == stats.keys()


def test_images_reach_the_model_as_floats_between_0_and_1_at_their_own_size(data: CocoPanoptic) -> None:
    oracle = Oracle(data)
    evaluate(oracle, data, Inference())
    for image, sample in zip(oracle.seen, data, strict=False):
        assert torch.equal(image, sample.image[None] / 255)


def test_or_at_the_size_that_is_asked_for(data: CocoPanoptic) -> None:
    oracle = Oracle(data)
    assert pq(data, oracle, Inference(short=150, longest=1333)) > 95
    assert {tuple(image.shape) for image in oracle.seen} == {(1, 3, 150, 150)}, "no multiple of 32"


def test_the_thresholds_are_those_of_the_inference(data: CocoPanoptic) -> None:
    """A class score of 0.5 is below the papers' 0.8."""
    unsure = torch.tensor(float(CLASSES)).log().item()
    assert pq(data, Oracle(data, confidence=unsure), Inference()) == 0
    assert pq(data, Oracle(data, confidence=unsure), Inference(object_threshold=0.4)) == pytest.approx(100)


def test_a_prediction_has_the_samples_size(data: CocoPanoptic, make_model: Callable[..., Segmenter]) -> None:
    model = make_model().eval()
    for how in (Inference(object_threshold=0.0), Inference(short=96, object_threshold=0.0)):
        found = predict(model, data[0], data.categories.things, how)
        assert tuple(found.id_map.shape) == (64, 64)
        assert {s.id for s in found.segments} == set(found.id_map.unique().tolist()) - {0}

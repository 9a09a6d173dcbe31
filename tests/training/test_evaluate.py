"""From a model to panoptic quality."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from effbench.data.cityscapes import open_cityscapes
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.transforms import pad_to
from effbench.encoders.contract import EarlyExit, EncoderOutput
from effbench.errors import InputError
from effbench.models.mask2former_decoder import Prediction
from effbench.models.segmenter import Segmenter, SegmenterOutput
from effbench.quality import ImageStats, PanopticWriter, accumulate, summarise
from effbench.training.evaluate import ImagePrediction, Inference, evaluate, per_image, predict, scores


class Oracle(nn.Module):
    """A segmenter that has read the annotations: image i of `data` is answered when it is asked for the i-th time."""

    def __init__(self, data: CocoPanoptic, confidence: float = 20.0) -> None:
        super().__init__()
        self.data, self.confidence = data, confidence
        self.weight, self.encoder = nn.Parameter(torch.zeros(())), nn.Identity()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> SegmenterOutput:
        sample = self.data[len(self.seen)]
        self.seen.append(images)
        height, width = images.shape[-2:]
        padded = pad_to((height, width))
        queries = len(sample.segments) + 1  # one of them finds nothing
        logits = torch.full((1, queries, len(self.data.categories) + 1), 0.0)
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
    images = evaluate(oracle, data, how).images
    return summarise(accumulate(images.values()), data.categories.things, data.categories.stuff)["all"].pq


def test_a_model_that_knows_the_truth_scores_100(data: CocoPanoptic) -> None:
    done: list[tuple[int, int]] = []
    oracle = Oracle(data).train()
    evaluation = evaluate(oracle, data, Inference(), lambda *event: done.append(event))
    found = scores(evaluation, data)
    assert [found[group]["pq"] for group in ("all", "things", "stuff")] == pytest.approx([100, 100, 100])
    assert found["miou"]["miou"] == pytest.approx(100)
    assert found["ap"]["ap"] == pytest.approx(100)
    assert list(evaluation.images) == list(evaluation.sizes) == [data[i].image_id for i in range(3)]
    assert len(oracle.seen) == 3, "one forward pass per image"
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert not oracle.training


def test_scores_and_statistics_are_plain_json(data: CocoPanoptic) -> None:
    evaluation = evaluate(Oracle(data), data, Inference())
    kept = json.loads(json.dumps({**scores(evaluation, data), "per_image": per_image(evaluation.images)}))
    groups = {group: kept[group] for group in ("all", "things", "stuff")} | kept["by_size"]
    assert list(kept["by_size"]) == ["small", "medium", "large"]
    for result in groups.values():
        assert result.keys() == {"pq", "sq", "rq", "categories"}
        assert result["pq"] == pytest.approx(100 if result["categories"] else 0)
    assert kept["all"]["categories"] == kept["things"]["categories"] + kept["stuff"]["categories"]
    assert kept["miou"].keys() == {"miou", "classes"}
    assert kept["miou"]["classes"] == kept["all"]["categories"]
    assert kept["ap"].keys() == {"ap", "ap50", "ap75", "aps", "apm", "apl", "categories"}
    assert kept["ap"]["categories"] == kept["things"]["categories"]
    assert kept["ap"]["apl"] is None, "in 64 x 64 pixels nothing is as large as 96 x 96"
    again = {int(image): ImageStats.from_json(one) for image, one in kept["per_image"].items()}
    assert again == evaluation.images
    assert list(again) == list(evaluation.images)


def test_sizes_add_up_to_the_image(data: CocoPanoptic) -> None:
    evaluation = evaluate(Oracle(data), data, Inference())
    for image, stats in evaluation.images.items():
        assert accumulate(evaluation.sizes[image].values()) == pytest.approx(stats)


@pytest.mark.parametrize("asked", ["semantic", "instances"])
def test_what_is_not_asked_for_is_not_measured(asked: str, data: CocoPanoptic) -> None:
    how = replace(Inference(semantic=False, instances=False), **{asked: True})
    found = scores(evaluate(Oracle(data), data, how), data)
    assert found["all"]["pq"] == pytest.approx(100)
    assert ("miou" in found, "ap" in found) == (how.semantic, how.instances)


def test_semantic_and_instance_output_need_no_confidence(data: CocoPanoptic) -> None:
    """The panoptic threshold has no part in them, as in Mask2Former."""
    unsure = Oracle(data, confidence=torch.tensor(float(len(data.categories))).log().item())
    found = scores(evaluate(unsure, data, Inference()), data)
    assert found["all"]["pq"] == 0
    assert found["ap"]["ap50"] > 95
    assert found["miou"]["miou"] > 95


@pytest.mark.parametrize("missing", ["things", "stuff"])
def test_a_data_set_without_things_or_stuff_says_so(missing: str, data: CocoPanoptic) -> None:
    kept = [replace(row, isthing=missing == "stuff") for row in data.categories]
    data.categories = replace(data.categories, rows=tuple(kept))
    found = scores(evaluate(Oracle(data), data, Inference()), data)
    assert found[missing] == {"pq": 0.0, "sq": 0.0, "rq": 0.0, "categories": 0}
    assert (found["ap"]["ap"] is None) == (found["ap"]["categories"] == 0) == (missing == "things")
    assert found["miou"]["miou"] == pytest.approx(100)


def test_predictions_are_exported_as_they_were_scored(data: CocoPanoptic, tiny_root: Path, tmp_path: Path) -> None:
    with PanopticWriter(tmp_path, data.categories) as writer:
        evaluation = evaluate(Oracle(data), data, Inference(), export=writer)
    written = CocoPanoptic.from_files(tiny_root / "val2017", tmp_path / "panoptic", tmp_path / "panoptic.json")
    assert [sample.image_id for sample in written] == list(evaluation.images)
    for truth, sample in zip(data, written, strict=True):
        assert sorted(s.category for s in sample.segments) == sorted(s.category for s in truth.segments)
        assert torch.equal(sample.id_map == 0, truth.id_map == 0)


def test_an_export_joins_the_ground_truth_by_its_image_ids(cityscapes_root: Path, tmp_path: Path) -> None:
    """As panopticapi and cityscapesScripts do: from the truth's `image_id` to the prediction's PNG."""
    data = open_cityscapes(cityscapes_root)
    with PanopticWriter(tmp_path / "out", data.categories) as writer:
        evaluate(Oracle(data), data, Inference(), export=writer)
    truth = json.loads((cityscapes_root / "gtFine/cityscapes_panoptic_val.json").read_text())
    written = json.loads((tmp_path / "out/panoptic.json").read_text())
    found = {row["image_id"]: row for row in written["annotations"]}
    assert found.keys() == {row["image_id"] for row in truth["annotations"]}
    assert {row["id"]: row["file_name"] for row in written["images"]} == {
        row["id"]: row["file_name"] for row in truth["images"]
    }
    for row in truth["annotations"]:
        theirs = np.asarray(Image.open(cityscapes_root / "gtFine/cityscapes_panoptic_val" / row["file_name"]))
        ours = np.asarray(Image.open(tmp_path / "out/panoptic" / found[row["image_id"]]["file_name"]))
        assert np.array_equal(theirs.any(-1), ours.any(-1))
        areas = [
            sorted((s["category_id"], s["area"]) for s in one["segments_info"]) for one in (row, found[row["image_id"]])
        ]
        assert areas[0] == areas[1]


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
    unsure = torch.tensor(float(len(data.categories))).log().item()
    assert pq(data, Oracle(data, confidence=unsure), Inference()) == 0
    assert pq(data, Oracle(data, confidence=unsure), Inference(object_threshold=0.4)) == pytest.approx(100)


def test_a_prediction_has_the_samples_size(data: CocoPanoptic, make_model: Callable[..., Segmenter]) -> None:
    model = make_model().eval()
    for how in (Inference(object_threshold=0.0), Inference(short=96, object_threshold=0.0)):
        found = predict(model, data[0], data.categories.things, how)
        assert isinstance(found, ImagePrediction)
        assert tuple(found.panoptic.id_map.shape) == (64, 64)
        assert {s.id for s in found.panoptic.segments} == set(np.unique(found.panoptic.id_map).tolist()) - {0}
        assert found.semantic is not None and found.instances is not None
        assert tuple(found.semantic.shape) == (64, 64)
        assert tuple(found.instances.masks.shape[1:]) == (64, 64)
        assert set(found.instances.classes.tolist()) <= data.categories.things


def test_a_gate_decides_only_where_it_is_asked_to(data: CocoPanoptic, make_model: Callable[..., Segmenter]) -> None:
    model = make_model(encoder="early_exit", base="mask2former", layers=3, exits=(1, 2, 3))
    assert isinstance(model.encoder, EarlyExit)
    torch.nn.init.zeros_(model.encoder.gate.weight)
    model.encoder.gate.bias.data = torch.tensor([0.0, 1.0, 0.0])
    panoptic = Inference(semantic=False, instances=False)
    for exit, layer in (("gate", 2), (1, 1), (None, 3)):
        assert set(evaluate(model, data, panoptic, exit=exit).exits.values()) == {layer}
    plain = make_model()
    assert evaluate(plain, data, panoptic).exits == {}
    with pytest.raises(InputError, match=r"exit='gate' and .*, which has none; expected early_exit"):
        evaluate(plain, data, panoptic, exit="gate")

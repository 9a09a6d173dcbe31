"""The losses of a step: made in float32 whatever the model runs in, and the companion's for every pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from effbench.data.embedded_categories import CATEGORIES
from effbench.data.memory import InMemory
from effbench.data.transforms import Target
from effbench.encoders.registry import registered, setting_defaults
from effbench.errors import InputError
from effbench.models.mask2former_decoder import Prediction
from effbench.models.segmenter import Segmenter
from effbench.training.criterion import CriterionSettings, SetCriterion
from effbench.training.losses import TrainingLosses
from effbench.training.trainer import PixelClassifier, Recipe, StepReport, Trainer

CLASSES = len(CATEGORIES)
MakeModel = Callable[..., Segmenter]
MakeRecipe = Callable[..., Recipe]


def train(model: Segmenter, data: InMemory, recipe: Recipe) -> list[StepReport]:
    reports: list[StepReport] = []
    Trainer(model, data, CLASSES, recipe, on_step=reports.append).run()
    return reports


# --- precision --------------------------------------------------------------------------------------------------------

WIDTH = {"heads": 4, "ffn_dim": 64, "d": (32, 32, 32)}


@pytest.mark.parametrize("encoder", registered())
def test_in_16_bits_every_encoder_starts_near_its_losses_in_32(
    encoder: str, make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    width = {name: value for name, value in WIDTH.items() if name in setting_defaults(encoder)}
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = make_model(encoder=encoder, **width)
        reports: list[StepReport] = []
        recipe = make_recipe(steps=2, precision=precision)
        trainer = Trainer(model, tiny_data, CLASSES, recipe, on_step=reports.append)
        trainer.run()
        losses[precision] = reports[0].losses
        assert all(math.isfinite(loss) for report in reports for loss in report.losses.values())
        state = [x for values in trainer.optimizer.state.values() for x in values.values()]
        assert {x.dtype for x in (*model.parameters(), *state)} == {torch.float32}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)
    assert losses["bfloat16"] != losses["float32"], "they ran in 16 bits"


@pytest.mark.parametrize("sampling", ["dense", "points"])
def test_in_16_bits_the_losses_are_still_made_in_32(
    sampling: str,
    make_model: MakeModel,
    make_recipe: MakeRecipe,
    tiny_data: InMemory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[torch.Tensor] = []
    made: list[torch.Tensor] = []
    criterion, pixel, forward = SetCriterion.__call__, PixelClassifier.loss, Segmenter.forward

    def watched_criterion(self: SetCriterion, predictions: Sequence[Prediction], targets: Any) -> Any:
        compared.extend(x for one in predictions for x in (one.logits, one.masks))
        return criterion(self, predictions, targets)

    def watched_pixel(self: PixelClassifier, mask_features: torch.Tensor, targets: Any) -> Any:
        compared.append(mask_features)
        assert not torch.is_autocast_enabled("cpu")
        return pixel(self, mask_features, targets)

    def watched_forward(self: Segmenter, images: torch.Tensor) -> Any:
        output = forward(self, images)
        made.extend((output.predictions[-1].masks, output.encoded.mask_features))
        return output

    monkeypatch.setattr(SetCriterion, "__call__", watched_criterion)
    monkeypatch.setattr(PixelClassifier, "loss", watched_pixel)
    monkeypatch.setattr(Segmenter, "forward", watched_forward)
    settings = CriterionSettings(sampling=sampling, points=256)
    train(make_model(), tiny_data, make_recipe(steps=1, precision="bfloat16", criterion=settings))
    assert {x.dtype for x in made} == {torch.bfloat16}
    assert {x.dtype for x in compared} == {torch.float32} and len(compared) == 5


# --- the pixel loss --------------------------------------------------------------------------------------------------


def features_of(target: Target) -> torch.Tensor:
    """Mask features (1, CLASSES, H/4, W/4) that name the class of every covered pixel."""
    features = torch.zeros(1, CLASSES, target.masks.shape[1] // 4, target.masks.shape[2] // 4)
    for label, mask in zip(target.labels.tolist(), target.masks, strict=True):
        features[0, label][mask[::4, ::4]] = 20.0
    return features


@pytest.fixture
def classifier() -> PixelClassifier:
    """Reads the class off the feature of the same number."""
    classifier = PixelClassifier(CLASSES, CLASSES)
    with torch.no_grad():
        classifier.classify.weight.copy_(torch.eye(CLASSES)[..., None, None])
        classifier.classify.bias.zero_()
    return classifier


def test_the_pixel_loss_is_low_where_the_features_tell_the_class(classifier: PixelClassifier) -> None:
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :16], masks[1, 16:, :16] = True, True
    target = Target(torch.tensor([4, 7]), masks)
    assert classifier.loss(features_of(target), [target]) < 1e-3
    assert classifier.loss(features_of(target).flip(2), [target]) > 5


def test_the_pixel_loss_of_void_is_zero_with_a_gradient(classifier: PixelClassifier) -> None:
    void = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 32, 32, dtype=torch.bool))
    features = torch.randn(2, CLASSES, 8, 8, requires_grad=True)
    loss = classifier.loss(features, [void, void])
    loss.backward()
    assert loss == 0
    assert features.grad is not None and (features.grad == 0).all()


def test_the_pixel_loss_can_be_left_out(make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory) -> None:
    (report,) = train(make_model(), tiny_data, make_recipe(steps=1, pixel_weight=0.0))
    assert "pixel" not in report.losses
    (report,) = train(make_model(), tiny_data, make_recipe(steps=1))
    assert report.losses["pixel"] > 0


def test_no_loss_takes_the_name_of_the_progress(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    """Reports of steps are passed on as done=, total=, phase= beside the losses."""
    (report,) = train(make_model(), tiny_data, make_recipe(steps=1))
    assert not {"done", "total", "phase", "event"} & report.losses.keys()


def test_an_exit_loss_is_for_encoders_with_exits(make_model: Callable[..., Segmenter]) -> None:
    model = make_model()
    with pytest.raises(InputError, match=r"exit_loss='weighted' and .*, which has no exits; expected early_exit"):
        TrainingLosses(model, PixelClassifier(8, 4), SetCriterion(4), 1.0, exit_loss="weighted")

"""The training loop: it learns, and a kill changes nothing about what it learns."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.data.embedded_categories import CATEGORIES
from effbench.data.memory import InMemory
from effbench.errors import DivergedError, InputError
from effbench.models.segmenter import Segmenter
from effbench.training.checkpoint import load, save_atomic
from effbench.training.criterion import CriterionSettings
from effbench.training.trainer import Recipe, StepReport, Trainer

CLASSES = len(CATEGORIES)
MakeModel = Callable[..., Segmenter]
MakeRecipe = Callable[..., Recipe]


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def train(model: Segmenter, data: InMemory, recipe: Recipe, checkpoint: Path | None = None) -> list[StepReport]:
    reports: list[StepReport] = []
    Trainer(model, data, CLASSES, recipe, checkpoint, reports.append).run()
    return reports


def shown(report: StepReport) -> float:
    return sum(report.losses[name] for name in ("class", "mask", "dice"))


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().items(), second.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("sampling", ["dense", "points"])
def test_the_loss_falls(sampling: str, make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory) -> None:
    recipe = make_recipe(steps=15, criterion=CriterionSettings(sampling=sampling, points=256))
    reports = train(make_model(), tiny_data, recipe)
    assert [report.step for report in reports] == list(range(1, 16))
    first, last = reports[:3], reports[-3:]
    assert sum(map(shown, last)) < 0.9 * sum(map(shown, first))


def test_the_same_seed_learns_the_same_and_another_something_else(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    models = [make_model() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        torch.manual_seed(5)  # the pixel classifier's weights
        train(model, tiny_data, make_recipe(steps=2, seed=seed))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


@pytest.mark.parametrize(("killed_at", "workers"), [(1, 0), (3, 0), (1, 2)])
def test_a_killed_training_ends_as_an_undisturbed_one(
    killed_at: int, workers: int, make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory, tmp_path: Path
) -> None:
    recipe = make_recipe(steps=5, checkpoint_every=0.0)
    undisturbed = make_model()
    train(undisturbed, tiny_data, make_recipe(steps=5))

    def kill(report: StepReport) -> None:
        if report.step == killed_at + 1:
            raise Killed

    checkpoint = tmp_path / "training.pt"
    with pytest.raises(Killed):
        Trainer(make_model(), tiny_data, CLASSES, recipe, checkpoint, kill, workers).run()

    resumed = make_model(seed=9)  # whatever it starts from is replaced
    reports: list[StepReport] = []
    trainer = Trainer(resumed, tiny_data, CLASSES, recipe, checkpoint, reports.append, workers)
    trainer.run()
    assert trainer.resumed_at == killed_at
    assert [report.step for report in reports] == list(range(killed_at + 1, 6))
    assert same(resumed, undisturbed), "bit for bit"


def test_a_checkpoint_of_another_model_is_refused(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "training.pt"
    trainer = Trainer(make_model(), tiny_data, CLASSES, make_recipe(), checkpoint)
    trainer.model.decoder.class_embed = torch.nn.Linear(64, 3)
    trainer.save()
    differ = (
        r"none missing, none unexpected, 2 of another shape \(decoder.class_embed.bias, decoder.class_embed.weight\)"
    )
    with pytest.raises(InputError, match=rf"training\.pt is of another architecture than .*: {differ}") as raised:
        Trainer(make_model(), tiny_data, CLASSES, make_recipe(), checkpoint).run()
    assert "\n" not in str(raised.value)


def test_so_are_one_of_other_classes_bare_weights_and_another_optimiser(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "training.pt"

    def refused(message: str) -> None:
        with pytest.raises(InputError, match=message) as raised:
            Trainer(make_model(), tiny_data, CLASSES, make_recipe(), checkpoint).run()
        assert "\n" not in str(raised.value)

    model = make_model()
    Trainer(model, tiny_data, CLASSES + 1, make_recipe(), checkpoint).save()
    refused(r"2 of another shape \(classify.bias, classify.weight\)")
    save_atomic(model.state_dict(), checkpoint)
    refused(r"5 missing \(model, optimizer, pixel, seconds, step\), \d+ unexpected \(")
    trainer = Trainer(model, tiny_data, CLASSES, make_recipe(), checkpoint)
    trainer.optimizer = torch.optim.AdamW(model.parameters())
    trainer.save()
    refused(r"training\.pt is of another optimiser \(.*parameter groups\); expected .* remove it to begin anew")


def test_a_number_of_loading_processes_below_zero_is_refused(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    with pytest.raises(InputError, match="workers=-1; expected 0 or more"):
        Trainer(make_model(), tiny_data, CLASSES, make_recipe(), workers=-1)


def test_a_finished_training_is_not_repeated(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory, tmp_path: Path
) -> None:
    trained, loaded = make_model(), make_model(seed=9)
    checkpoint = tmp_path / "training.pt"
    assert len(train(trained, tiny_data, make_recipe(), checkpoint)) == 4
    assert train(loaded, tiny_data, make_recipe(), checkpoint) == []
    assert same(trained, loaded)


def test_the_time_before_a_kill_counts(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory, tmp_path: Path
) -> None:
    checkpoint, recipe = tmp_path / "training.pt", make_recipe(steps=3, checkpoint_every=0.0)

    def kill(report: StepReport) -> None:
        if report.step == 3:
            raise Killed

    killed = Trainer(make_model(), tiny_data, CLASSES, recipe, checkpoint, kill)
    with pytest.raises(Killed):
        killed.run()
    state = load(checkpoint)
    assert 0 < state["seconds"] < killed.seconds < 1000, "of two steps, and of three"
    save_atomic({**state, "seconds": 1000.0}, checkpoint)

    began = time.monotonic()
    resumed = Trainer(make_model(), tiny_data, CLASSES, recipe, checkpoint)
    resumed.run()
    assert 1000 < resumed.seconds <= 1000 + time.monotonic() - began
    assert load(checkpoint)["seconds"] == resumed.seconds

    again = Trainer(make_model(), tiny_data, CLASSES, recipe, checkpoint)
    again.run()
    assert again.seconds == resumed.seconds, "a finished training takes no more"


def test_the_model_is_in_training_mode_and_all_of_it_learns(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    model = make_model().eval()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, tiny_data, make_recipe(steps=2))
    assert model.training
    unmoved = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert unmoved == []


POSITIONS = ("relative_position_bias_table", "absolute_pos_embed")  # as Swin has them


def test_every_weight_is_trained_once_and_decays_unless_it_is_a_norm_or_an_embedding(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    model = make_model()
    for name in POSITIONS:
        model.backbone.register_parameter(name, nn.Parameter(torch.zeros(9, 2)))
    trainer = Trainer(model, tiny_data, CLASSES, make_recipe(weight_decay=0.07))
    groups = trainer.optimizer.param_groups
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decay), "none twice"
    trained = [*model.parameters(), *trainer.pixel.parameters()]
    assert decay.keys() == {id(parameter) for parameter in trained}
    for module in [*model.modules(), *trainer.pixel.modules()]:
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.Embedding)) or name in POSITIONS:
                assert decay[id(parameter)] == 0, type(module)
            elif name == "weight":
                assert decay[id(parameter)] == 0.07, type(module)


def test_the_rate_warms_up_and_falls_to_nothing(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    recipe = make_recipe(steps=20, warm_up=4, batch_size=1, learning_rate=1e-3, backbone_rate=0.1)
    rates: list[set[float]] = []
    trainer = Trainer(
        make_model(),
        tiny_data,
        CLASSES,
        recipe,
        on_step=lambda report: rates.append({group["lr"] for group in trainer.optimizer.param_groups}),
    )
    trainer.run()
    highest = [max(pair) for pair in rates]
    assert highest[:4] == pytest.approx([0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert highest[4] == pytest.approx(1e-3)
    assert highest[4:] == sorted(highest[4:], reverse=True)
    assert 0 < highest[-1] < 0.02e-3
    assert all(min(pair) == pytest.approx(0.1 * max(pair)) for pair in rates), "the backbone's own rate"


def test_the_order_of_the_images_is_drawn_anew_for_every_pass(
    make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    class Watched(InMemory):
        def __init__(self) -> None:
            self.samples, self.asked = tiny_data.samples, []

        def __getitem__(self, index: int) -> Sample:
            self.asked.append(index)
            return super().__getitem__(index)

    data = Watched()
    train(make_model(), data, make_recipe(steps=9, batch_size=1))
    passes = [tuple(data.asked[i : i + 3]) for i in (0, 3, 6)]
    assert all(sorted(one) == [0, 1, 2] for one in passes), "every image once per pass"
    assert len(set(passes)) > 1


@pytest.mark.parametrize("name", ["large_scale_jitter", "cityscapes"])
def test_the_recipe_names_the_augmentation(
    name: str, make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    models = [make_model() for _ in range(3)]
    for model, augmentation in zip(models, (name, name, "crop"), strict=True):
        torch.manual_seed(5)  # the pixel classifier's weights
        train(model, tiny_data, make_recipe(steps=1, crop=32, augmentation=augmentation))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_stops_the_training_in_one_line(
    workers: int, make_model: MakeModel, make_recipe: MakeRecipe, tiny_root: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tiny_root, tmp_path / "broken"))
    image = sorted((root / "train2017").iterdir())[0]
    image.write_bytes(image.read_bytes()[:-40])
    reports: list[StepReport] = []
    trainer = Trainer(
        make_model(),
        CocoPanoptic(root, "train2017"),
        CLASSES,
        make_recipe(batch_size=1),
        on_step=reports.append,
        workers=workers,
    )
    with pytest.raises(InputError) as caught:
        trainer.run()
    assert str(caught.value).startswith(f"{image}: cannot be read as an image") and "\n" not in str(caught.value)
    assert len(reports) == trainer.step < 3, "the steps before it are taken"


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"augmentation": "mosaic"}, "augmentation='mosaic'; expected one of crop"),
        ({"crop": 33}, "crop=33; expected a positive multiple of 32"),
        ({"precision": "float16"}, "precision='float16'; expected one of float32, bfloat16"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(
    field: dict[str, Any], message: str, make_recipe: MakeRecipe
) -> None:
    with pytest.raises(InputError, match=message):
        make_recipe(**field)


@pytest.mark.parametrize("sampling", ["dense", "points"])
def test_a_loss_that_is_no_number_stops_the_training_with_advice(
    sampling: str, make_model: MakeModel, make_recipe: MakeRecipe, tiny_data: InMemory
) -> None:
    model = make_model()
    with torch.no_grad():
        model.encoder.mask_features.weight.fill_(math.nan)
    recipe = make_recipe(criterion=CriterionSettings(sampling=sampling, points=256))
    with pytest.raises(DivergedError, match="lower the learning rate") as raised:
        train(model, tiny_data, recipe)
    assert isinstance(raised.value, FloatingPointError) and "\n" not in str(raised.value)

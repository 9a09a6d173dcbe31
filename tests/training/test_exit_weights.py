"""Step A: which exits are trained, and how much each counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from effbench.data.memory import InMemory
from effbench.data.transforms import collate
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.training.criterion import CriterionSettings, SetCriterion
from effbench.training.exit_weights import exit_weights
from effbench.training.losses import PixelClassifier, TrainingLosses
from effbench.training.trainer import Recipe, Trainer

EXITS = (2, 3, 5)
EARLY = {"encoder": "early_exit", "heads": 4, "ffn_dim": 64, "layers": 3, "exits": (1, 2, 3)}


def test_weights_grow_with_the_layer_by_default() -> None:
    assert exit_weights(EXITS, "weighted") == pytest.approx({2: 0.2, 3: 0.3, 5: 0.5})
    assert exit_weights(EXITS, "weighted", (1.0, 2.0, 5.0)) == pytest.approx({2: 0.125, 3: 0.25, 5: 0.625})
    assert exit_weights(EXITS, "uniform") == pytest.approx(dict.fromkeys(EXITS, 1 / 3))
    assert exit_weights(EXITS, "last") == {5: 1.0}


@pytest.mark.parametrize(
    ("kind", "alphas", "says"),
    [
        ("random", (), "exit_loss='random'; expected one of last, uniform, weighted"),
        ("weighted", (1.0, 2.0), r"2 alphas for exits \(2, 3, 5\); expected one for each"),
        ("weighted", (1.0, 1.0, 2.0), "expected them to grow with depth, or exit_loss='uniform'"),
        ("weighted", (0.0, 1.0, 2.0), "expected positive numbers"),
        ("weighted", (1.0, 2.0, float("nan")), "expected positive numbers"),
        ("uniform", (1.0, 2.0, 3.0), "expected exit_loss='weighted', or none"),
    ],
)
def test_bad_weights(kind: str, alphas: tuple[float, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        exit_weights(EXITS, kind, alphas)


def test_a_recipe_refuses_them_at_once() -> None:
    with pytest.raises(InputError, match="exit_loss='random'"):
        Recipe(steps=1, exit_loss="random")


@pytest.fixture
def losses_of(make_model: Callable[..., Segmenter]) -> Callable[..., TrainingLosses]:
    """The losses of one early-exit model, whichever exits count."""

    def make(kind: str, alphas: tuple[float, ...] = ()) -> TrainingLosses:
        model = make_model(**EARLY)
        torch.manual_seed(1)
        criterion = SetCriterion(15, CriterionSettings(sampling="dense"))
        return TrainingLosses(model, PixelClassifier(32, 15), criterion, 1.0, exit_loss=kind, alphas=alphas)

    return make


def test_the_loss_is_the_weighted_sum_of_the_exits(
    losses_of: Callable[..., TrainingLosses], tiny_data: InMemory
) -> None:
    batch = collate([tiny_data[0], tiny_data[1]])
    weighted = losses_of("weighted")
    found = weighted(batch.images, batch.targets)
    expected: dict[str, torch.Tensor] = {}
    for layer, alpha in {1: 1 / 6, 2: 2 / 6, 3: 3 / 6}.items():
        output = weighted.model(batch.images, layer)
        losses = weighted.criterion(output.predictions, batch.targets)
        losses["pixel"] = weighted.pixel.loss(output.encoded.mask_features, batch.targets)
        for name, loss in losses.items():
            expected[name] = expected.get(name, torch.zeros(())) + alpha * loss
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_the_last_exit_alone_is_an_ordinary_training(
    losses_of: Callable[..., TrainingLosses], tiny_data: InMemory
) -> None:
    batch = collate([tiny_data[0], tiny_data[1]])
    last = losses_of("last")
    output = last.model(batch.images, 3)
    expected = last.criterion(output.predictions, batch.targets)
    found = last(batch.images, batch.targets)
    for name, loss in expected.items():
        assert torch.equal(found[name], loss)


@pytest.mark.parametrize("kind", ["last", "uniform", "weighted"])
def test_the_gate_is_left_as_it_is(
    kind: str, make_model: Callable[..., Segmenter], make_recipe: Callable[..., Recipe], tiny_data: InMemory
) -> None:
    model = make_model(**EARLY)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    Trainer(model, tiny_data, 15, make_recipe(steps=2, exit_loss=kind)).run()
    changed = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    assert not any(".gt." in name for name in changed)
    assert any(".layers.0." in name for name in changed)


def test_the_gate_and_layers_above_the_deepest_exit_rest(make_model: Callable[..., Segmenter]) -> None:
    """Several processes must not wait for their gradients."""
    model = make_model(**{**EARLY, "exits": (1, 2)})
    batch = torch.rand(1, 3, 64, 64)
    loss = sum(output.predictions[-1].masks.sum() for output in model.every_exit(model.backbone(model.prepare(batch))))
    loss.backward()
    resting = {name for name, p in model.encoder.named_parameters() if p.grad is None}
    assert any(".layers.2." in name for name in resting) and any(".gt." in name for name in resting)

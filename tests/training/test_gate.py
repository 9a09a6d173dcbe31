"""Step C: targets, losses and a gate that finds what can be found."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from effbench.encoders.early_exit import EarlyExitEncoder
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.quality import CategoryStats, ImageStats
from effbench.training.derived import Derived, DerivedImage, fingerprint
from effbench.training.gate import (
    GATE_LOSSES,
    GateRecipe,
    TrainedGate,
    gate_loss,
    install,
    target_exits,
    train_gate,
    utilities,
)

EXITS = (2, 3, 4, 5, 6)


def stats(pq: float) -> ImageStats:
    """An image of one class with this PQ."""
    return ImageStats({0: CategoryStats(pq, 1, 0, 0)})


def made(quality: np.ndarray[Any, Any], pooled: np.ndarray[Any, Any], exits: tuple[int, ...] = EXITS) -> Derived:
    """A derived data set with these PQs (N, exits) from 0 to 1, and these inputs of a gate (N, dim)."""
    images = {
        i: DerivedImage(tuple(map(float, seen)), tuple(stats(float(pq)) for pq in row))
        for i, (row, seen) in enumerate(zip(quality, pooled, strict=True))
    }
    return Derived({"model": "m", "exits": list(exits)}, exits, images)


@pytest.fixture
def easy() -> Derived:
    """400 images whose third input says how many layers they gain from: each gains 0.02 up to there, then nothing."""
    rng = np.random.default_rng(0)
    pooled = rng.normal(3.0, 2.0, size=(400, 6))
    needed = np.clip(np.round(pooled[:, 2] + 1), 2, 6)
    layers = np.asarray(EXITS)
    return made(0.5 + 0.02 * np.minimum(layers, needed[:, None]), pooled)


def test_utility_is_quality_minus_the_price_of_layers(easy: Derived) -> None:
    np.testing.assert_allclose(utilities(easy, 0.01), easy.quality() - 0.01 * np.asarray(EXITS))
    assert utilities(easy, 0.01, k=4).shape == (400, 3)


def test_the_target_is_the_earliest_best(easy: Derived) -> None:
    needed = np.clip(np.round(easy.pooled()[:, 2] + 1), 2, 6)
    np.testing.assert_array_equal(target_exits(easy, 0.001), needed)
    np.testing.assert_array_equal(target_exits(easy, 0.0), needed), "without a price the earliest of the best"
    np.testing.assert_array_equal(target_exits(easy, 0.03), 2)
    np.testing.assert_array_equal(target_exits(easy, 0.001, k=4), np.minimum(needed, 4))


def test_targets_leave_no_later_as_layers_get_dearer() -> None:
    rng = np.random.default_rng(1)
    noisy = made(rng.uniform(0.3, 0.7, size=(200, 5)), rng.normal(size=(200, 3)))
    means = [target_exits(noisy, beta).mean() for beta in (0, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)]
    assert means == sorted(means, reverse=True) and means[-1] == 2


@pytest.mark.parametrize("loss", GATE_LOSSES)
def test_a_gate_learns_what_its_input_tells(loss: str, easy: Derived) -> None:
    began = time.monotonic()
    gate = train_gate(easy, GateRecipe(beta=0.005, loss=loss))
    assert time.monotonic() - began < 20
    chosen, targets = gate.choose(easy), target_exits(easy, 0.005)
    if loss in ("hard_ce", "u_ce"):  # the softmax of utilities that lie hundredths apart says next to nothing
        assert chosen[targets == 6].mean() >= chosen[targets == 2].mean()
    if loss == "hard_ce":
        assert (np.abs(chosen - targets) <= 1).mean() > 0.95
        assert abs(chosen.mean() - targets.mean()) < 0.2
    assert gate.exits == EXITS and set(chosen) <= set(EXITS)
    assert (gate.recipe["beta"], gate.recipe["loss"]) == (0.005, loss)


def test_a_gate_that_can_learn_nothing_takes_what_is_best_on_the_whole() -> None:
    rng = np.random.default_rng(2)
    quality = np.full((300, 5), 0.5)
    quality[np.arange(300), np.where(rng.random(300) < 0.7, 1, 3)] = 0.6
    gate = train_gate(made(quality, rng.normal(size=(300, 2))), GateRecipe(beta=0.0))
    assert (gate.choose(made(quality, rng.normal(size=(300, 2)))) == 3).mean() > 0.95


def test_training_is_deterministic(easy: Derived) -> None:
    first = train_gate(easy, GateRecipe(beta=0.005, steps=50))
    torch.rand(3)
    second = train_gate(easy, GateRecipe(beta=0.005, steps=50))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)


def test_images_of_another_model_or_of_other_exits_are_refused(easy: Derived) -> None:
    gate = train_gate(easy, GateRecipe(beta=0.0, steps=2, k=4))
    assert len(gate.choose(easy)) == 400, "fewer exits of the same model are fine"
    other = Derived({**easy.provenance, "model": "another"}, easy.exits, easy.images)
    with pytest.raises(InputError, match=r"the gate is of model m and exits .*, the derived data set of another"):
        gate.choose(other)
    fewer = made(easy.quality()[:, 1:], easy.pooled(), EXITS[1:])
    with pytest.raises(InputError, match=r"and \(3, 4, 5, 6\); train one for it"):
        gate.choose(fewer)


def test_losses_are_those_of_the_supplement() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    utility = torch.tensor([[0.5, 0.6, 0.4], [0.9, 0.1, 0.2]])
    log, soft = logits.log_softmax(1), utility.softmax(1)
    assert gate_loss(logits, utility, "hard_ce") == pytest.approx(float(-(log[0, 1] + log[1, 0]) / 2))
    assert gate_loss(logits, utility, "u_ce") == pytest.approx(float(-(utility * log).sum() / 2))
    assert gate_loss(logits, utility, "soft_ce") == pytest.approx(float(-(soft * log).sum() / 2))
    assert gate_loss(logits, utility, "soft_mse") == pytest.approx(float((soft - logits.softmax(1)).pow(2).sum() / 2))


def test_one_image_teaches_something() -> None:
    """The release takes its softmax over the batch, so that one image's is 1 whatever the gate says."""
    for kind in GATE_LOSSES:
        logits = torch.zeros(1, 3, requires_grad=True)
        gate_loss(logits, torch.tensor([[0.5, 0.6, 0.4]]), kind).backward()
        assert logits.grad is not None and logits.grad.abs().max() > 0, kind


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"beta": -0.1}, "beta=-0.1; expected a number of at least 0"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"beta": "much"}, "beta='much'"),
        ({"beta": 0.1, "loss": "mse"}, "loss='mse'; expected one of hard_ce, u_ce, soft_ce, soft_mse"),
    ],
)
def test_bad_recipes(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        GateRecipe(**settings)


def test_k_below_the_first_exit_is_refused(easy: Derived) -> None:
    with pytest.raises(InputError, match="k=1; expected 0 for all exits, or a layer from 2, the first, to 6"):
        train_gate(easy, GateRecipe(beta=0.0, k=1))


# --- a gate and its model --------------------------------------------------------------------------------------------


@pytest.fixture
def model(make_model: Callable[..., Segmenter]) -> Segmenter:
    return make_model(encoder="early_exit", heads=4, ffn_dim=64, layers=3, exits=(1, 2, 3))


def test_an_installed_gate_decides_as_it_did_in_training(model: Segmenter) -> None:
    gate = TrainedGate(torch.randn(3, 32), torch.randn(3), (1, 2, 3), fingerprint(model))
    install(gate, model)
    encoder = model.encoder
    assert isinstance(encoder, EarlyExitEncoder)
    pooled = torch.randn(8, 32)
    images = {i: DerivedImage(tuple(x), (stats(0.5),) * 3) for i, x in enumerate(pooled.tolist())}
    chosen = gate.choose(Derived({"model": gate.model}, (1, 2, 3), images))
    assert chosen.tolist() == [(1, 2, 3)[i] for i in encoder.gate(pooled).argmax(1)]


def test_exits_above_a_gates_k_are_never_chosen(model: Segmenter) -> None:
    gate = TrainedGate(torch.randn(2, 32), torch.tensor([-100.0, -200.0]), (1, 2), fingerprint(model))
    install(gate, model)
    encoder = model.encoder
    assert isinstance(encoder, EarlyExitEncoder)
    pooled = torch.randn(50, 32)
    assert encoder.decide(pooled)[1] == [(1, 2)[i] for i in (pooled @ gate.weight.T + gate.bias).argmax(1)]


def test_a_gate_is_kept_and_read(model: Segmenter, tmp_path: Path) -> None:
    gate = TrainedGate(torch.randn(3, 32), torch.randn(3), (1, 2, 3), "m", {"beta": 0.1, "loss": "hard_ce"})
    gate.save(tmp_path / "gate.pt")
    read = TrainedGate.read(tmp_path / "gate.pt")
    assert torch.equal(read.weight, gate.weight) and (read.exits, read.model, read.recipe) == (
        gate.exits,
        gate.model,
        gate.recipe,
    )
    torch.save({"weight": gate.weight}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"holds \['weight'\]; expected a gate that step C wrote"):
        TrainedGate.read(tmp_path / "other.pt")


def test_a_gate_of_other_exits_or_another_model_is_refused(model: Segmenter) -> None:
    gate = TrainedGate(torch.zeros(2, 32), torch.zeros(2), (1, 3), fingerprint(model))
    with pytest.raises(InputError, match=r"among exits \(1, 3\), the encoder has \(1, 2, 3\)"):
        install(gate, model)
    other = TrainedGate(torch.zeros(3, 32), torch.zeros(3), (1, 2, 3), "0" * 16)
    with pytest.raises(InputError, match="the gate was trained for model 0000000000000000, this is"):
        install(other, model)


@pytest.mark.parametrize("utility", [[[-0.4, -0.3]], [[0.5, -0.3]]])
def test_a_negative_utility_weighs_nothing(utility: list[list[float]]) -> None:
    logits = torch.zeros(1, 2)
    weighed = [max(0.0, one) for one in utility[0]]
    assert gate_loss(logits, torch.tensor(utility), "u_ce") == pytest.approx(sum(weighed) * np.log(2))


def test_trained_gates_leave_earlier_where_a_layer_costs_more(easy: Derived) -> None:
    """Acceptance of step C: the trained gate's mean exit falls with beta, within 0.1 layer, as its targets' does."""
    means = [train_gate(easy, GateRecipe(beta)).choose(easy).mean() for beta in (0.0, 0.001, 0.005, 0.02, 0.1)]
    assert all(after <= before + 0.1 for before, after in itertools.pairwise(means))
    assert means[0] > means[-1] + 1

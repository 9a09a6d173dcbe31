"""Step C of ECO-M2F: a gate for one trade-off, trained from the derived data set alone, in seconds.

It is a linear layer on what step B kept of every image, so that all of them are one batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import EarlyExit, exits_of
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.training.checkpoint import load, save_atomic
from effbench.training.derived import Derived, Floats, fingerprint

GATE_LOSSES = ("hard_ce", "u_ce", "soft_ce", "soft_mse")
Choices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GateRecipe:
    """How a gate is trained.

    Attributes:
        beta: what a layer costs in PQ (0 to 1): utility is PQ - beta * layer.
        k: exits above this layer are left out, 0 for none (the paper's K).
        loss: hard_ce: cross-entropy with the exit of the highest utility (the paper's). Its supplement's others:
            u_ce, cross-entropy weighted by the utilities, of which a negative one, which would push its exit away
            without end, weighs nothing; soft_ce and soft_mse,
            cross-entropy with and squared distance to the softmax of the utilities. Both cross-entropies have the minus
            sign that is missing in print.
        steps, learning_rate, decay: Adam over all images at once; `decay` is the weights' (on standardised inputs).
        seed: of the initial weights.
    """

    beta: float
    k: int = 0
    loss: str = "hard_ce"
    steps: int = 1000
    learning_rate: float = 0.02
    decay: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.beta, bool) or not isinstance(self.beta, (int, float)) or not 0 <= self.beta < math.inf:
            raise InputError(f"beta={self.beta!r}; expected a number of at least 0, PQ (0 to 1) that a layer costs")
        if self.loss not in GATE_LOSSES:
            raise InputError(f"loss={self.loss!r}; expected one of {', '.join(GATE_LOSSES)}")


@dataclass(frozen=True, eq=False)
class TrainedGate:
    """A linear layer from what a gate sees to its exits, and which model it is for.

    Attributes:
        weight, bias: (exits, dim) and (exits,), float32.
        exits: layers, ascending.
        model: `fingerprint` of the model whose images it was trained on.
        recipe: the fields of the GateRecipe that it was trained by.
    """

    weight: Tensor
    bias: Tensor
    exits: tuple[int, ...]
    model: str
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def choose(self, derived: Derived) -> Choices:
        """The exit (N,) of every image, as a layer. InputError for images of another model, or of other exits."""
        if derived.provenance["model"] != self.model or derived.exits[: len(self.exits)] != self.exits:
            raise InputError(
                f"the gate is of model {self.model} and exits {self.exits}, the derived data set of "
                f"{derived.provenance['model']} and {derived.exits}; train one for it"
            )
        logits = torch.from_numpy(derived.pooled()).float() @ self.weight.T + self.bias
        return np.asarray(self.exits)[logits.argmax(-1).numpy()]

    def save(self, path: Path) -> None:
        """Write it to `path`."""
        tensors = {"weight": self.weight, "bias": self.bias}
        save_atomic({**tensors, "exits": list(self.exits), "model": self.model, "recipe": dict(self.recipe)}, path)

    @classmethod
    def read(cls, path: Path) -> TrainedGate:
        """What `save` wrote; InputError for anything else."""
        state: dict[str, Any] = load(path)
        if state.keys() != {"weight", "bias", "exits", "model", "recipe"}:
            raise InputError(f"{path} holds {sorted(state)}; expected a gate that step C wrote")
        return cls(**{**state, "exits": tuple(state["exits"])})


def usable_exits(exits: Sequence[int], k: int) -> tuple[int, ...]:
    """Those up to `k`, all for 0; InputError for a layer before the first exit or behind the last."""
    if isinstance(k, bool) or not isinstance(k, int) or not (k == 0 or exits[0] <= k <= exits[-1]):
        raise InputError(f"k={k!r}; expected 0 for all exits, or a layer from {exits[0]}, the first, to {exits[-1]}")
    return tuple(layer for layer in exits if not k or layer <= k)


def utilities(derived: Derived, beta: float, k: int = 0) -> Floats:
    """PQ - beta * layer of every image (rows) at every usable exit (columns): equation 4."""
    exits = usable_exits(derived.exits, k)
    return derived.quality()[:, : len(exits)] - beta * np.asarray(exits)


def target_exits(derived: Derived, beta: float, k: int = 0) -> Choices:
    """The layer (N,) of the highest utility of every image, the earliest of several: equation 5."""
    exits = usable_exits(derived.exits, k)
    return np.asarray(exits)[utilities(derived, beta, k).argmax(1)]


def train_gate(derived: Derived, recipe: GateRecipe) -> TrainedGate:
    """A gate for `recipe`'s trade-off, from the images of `derived`. Deterministic."""
    exits = usable_exits(derived.exits, recipe.k)
    seen = torch.from_numpy(derived.pooled())
    utility = torch.from_numpy(utilities(derived, recipe.beta, recipe.k))
    mean, spread = seen.mean(0), seen.std(0, unbiased=False).clamp(min=1e-6)
    inputs = ((seen - mean) / spread).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        layer = nn.Linear(inputs.shape[1], len(exits))
    # the paper's Adam, with a decay, since images that can be told apart would let weights grow for ever; the learning
    # rate falls to zero, so that the last step is no accident
    optimizer = torch.optim.AdamW(layer.parameters(), recipe.learning_rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for _ in range(recipe.steps):
        loss = gate_loss(layer(inputs), utility.float(), recipe.loss)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # the standardisation becomes part of the layer
        weight = layer.weight.double() / spread
        bias = layer.bias.double() - weight @ mean
    return TrainedGate(weight.float(), bias.float(), exits, derived.provenance["model"], asdict(recipe))


def gate_loss(logits: Tensor, utility: Tensor, kind: str) -> Tensor:
    """Mean loss over images of logits (N, exits) for utilities (N, exits); `kind` is one of `GATE_LOSSES`.

    Every softmax is over an image's exits; the release takes it over the batch, which teaches nothing at one image.
    """
    if kind == "hard_ce":
        return F.cross_entropy(logits, utility.argmax(1))
    if kind == "u_ce":
        return -(utility.clamp(min=0) * logits.log_softmax(1)).sum(1).mean()
    soft = utility.softmax(1)
    if kind == "soft_ce":
        return F.cross_entropy(logits, soft)
    return (soft - logits.softmax(1)).square().sum(1).mean()


def install(gate: TrainedGate, model: Segmenter) -> None:
    """Give `model`'s encoder the gate; exits above its K are never chosen.

    Raises InputError for a gate of other exits, or of another model.
    """
    exits = exits_of(model.encoder)
    if not exits or exits[: len(gate.exits)] != gate.exits:
        raise InputError(
            f"the gate chooses among exits {gate.exits}, the encoder has {exits}; build it with these, or train a gate"
        )
    if gate.model != (found := fingerprint(model)):
        raise InputError(f"the gate was trained for model {gate.model}, this is {found}; train one for it")
    assert isinstance(model.encoder, EarlyExit), "it has exits"
    above = len(exits) - len(gate.exits)
    weight, bias = F.pad(gate.weight, (0, 0, 0, above)), F.pad(gate.bias, (0, above), value=-math.inf)
    model.encoder.gate.load_state_dict({"weight": weight, "bias": bias})

"""Step A of ECO-M2F: how much the loss at each exit of an early-exit encoder counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from effbench.errors import InputError

EXIT_LOSSES = ("last", "uniform", "weighted")


def check_exit_loss(exit_loss: str, alphas: Sequence[float]) -> None:
    """InputError for an unknown way to weight exits, or for weights that are not positive numbers."""
    if exit_loss not in EXIT_LOSSES:
        raise InputError(f"exit_loss={exit_loss!r}; expected one of {', '.join(EXIT_LOSSES)}")
    if alphas and exit_loss != "weighted":
        raise InputError(f"alphas={tuple(alphas)} with exit_loss={exit_loss!r}; expected exit_loss='weighted', or none")
    if any(isinstance(a, bool) or not isinstance(a, (int, float)) or not 0 < a < math.inf for a in alphas):
        raise InputError(f"alphas={tuple(alphas)}; expected positive numbers")


def exit_weights(exits: Sequence[int], exit_loss: str, alphas: Sequence[float] = ()) -> dict[int, float]:
    """exit -> alpha, of those that count; they sum to 1, so that gradients are clipped as in an ordinary training.

    "last": the deepest exit alone, the paper's baseline. "uniform": all alike, its unweighted stochastic depth.
    "weighted": alpha grows with depth, as its equation 3 asks; in proportion to the layer, since the paper gives no
    numbers, or as `alphas` has it. Raises InputError for alphas that do not grow, or of another number.

    Source: ECO-M2F (Yao et al. 2024), section 3.1.
    """
    check_exit_loss(exit_loss, alphas)
    if exit_loss == "last":
        return {exits[-1]: 1.0}
    weights = [1.0] * len(exits) if exit_loss == "uniform" else list(alphas) or [float(layer) for layer in exits]
    if len(weights) != len(exits):
        raise InputError(f"{len(weights)} alphas for exits {tuple(exits)}; expected one for each")
    if exit_loss == "weighted" and any(a >= b for a, b in pairwise(weights)):
        raise InputError(f"alphas={tuple(weights)}; expected them to grow with depth, or exit_loss='uniform'")
    return {layer: weight / sum(weights) for layer, weight in zip(exits, weights, strict=True)}

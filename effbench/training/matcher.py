"""Which query answers for which target: Mask2Former's costs and scipy's assignment.

Vocabulary: Q queries, K classes, N targets of one image, P sampled points (or all pixels, where losses are dense).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from effbench.errors import DivergedError


@dataclass(frozen=True)
class MatchCosts:
    """Unweighted cost matrices (Q, N)."""

    classes: Tensor
    mask: Tensor
    dice: Tensor


def match_costs(logits: Tensor, values: Tensor, labels: Tensor, targets: Tensor) -> MatchCosts:
    """Costs of every (query, target) pair of one image.

    Args:
        logits: (Q, K+1).
        values: mask logits at the points, (Q, P).
        labels: (N,) int64.
        targets: ground truth at the same points, (N, P) in [0, 1].

    Source: Mask2Former's HungarianMatcher: minus the class probability; binary cross-entropy averaged over the
    points; 1 - (2 p.t + 1) / (sum p + sum t + 1).
    """
    points = values.shape[1]
    positive, negative = F.softplus(-values), F.softplus(values)  # cross-entropy against 1 and against 0
    mask = (positive @ targets.T + negative @ (1 - targets).T) / points
    probability = values.sigmoid()
    overlap = probability @ targets.T
    dice = 1 - (2 * overlap + 1) / (probability.sum(1)[:, None] + targets.sum(1) + 1)
    return MatchCosts(-logits.softmax(-1)[:, labels], mask, dice)


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment of cost (Q, N): matched (query, target) indices, int64.

    Raises DivergedError for costs that are not finite.
    """
    if not bool(cost.isfinite().all()):
        raise DivergedError(
            "the training has diverged: the predictions to be matched are not finite; expected finite ones, "
            "lower the learning rate"
        )
    queries, targets = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.as_tensor(queries, device=cost.device), torch.as_tensor(targets, device=cost.device)

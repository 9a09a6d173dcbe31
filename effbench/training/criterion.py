"""Mask2Former's set criterion: matched class, mask and dice losses on every prediction head.

Losses are computed on sampled points, as the papers do, or on every pixel at stride 4, which is faster and
steadier on small images. Vocabulary: B batch, Q queries, K classes, N targets, P points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.data.transforms import Target
from effbench.errors import InputError
from effbench.models.mask2former_decoder import Prediction
from effbench.training.distributed import mean_over_processes
from effbench.training.matcher import assign, match_costs


@dataclass(frozen=True)
class CriterionSettings:
    """Weights and sampling; the defaults are Mask2Former's official configuration."""

    sampling: str = "points"
    """"points", or "dense" for all pixels at stride 4."""
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75
    no_object: float = 0.1
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of maps (N, H, W) at points (N, P, 2) as (x, y) in [0, 1]: (N, P)."""
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps[:, None], grid, mode="bilinear", align_corners=False)[:, 0, :, 0]


class SetCriterion:
    """Weighted losses of a list of predictions against the targets of a batch."""

    def __init__(self, num_classes: int, settings: CriterionSettings | None = None) -> None:
        self.settings = settings or CriterionSettings()
        if self.settings.sampling not in ("points", "dense"):
            raise InputError(f"sampling={self.settings.sampling!r}, expected 'points' or 'dense'")
        self.num_classes = num_classes

    def __call__(self, predictions: Sequence[Prediction], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Losses by name: `class`, `mask`, `dice` of the last prediction, and `_0`, `_1`, ... of the earlier ones.

        `targets` hold masks at the padded input's size. Their sum is what to minimise.
        """
        dense = [_at_stride_4(t, predictions[-1].masks) for t in targets] if self.settings.sampling == "dense" else None
        losses: dict[str, Tensor] = {}
        # the last prediction first, then the earlier ones: the release's order of random draws
        for suffix, prediction in [
            ("", predictions[-1]),
            *((f"_{i}", p) for i, p in enumerate(predictions[:-1])),
        ]:
            for name, loss in self._losses(prediction, targets, dense).items():
                losses[name + suffix] = loss
        return losses

    def _losses(
        self, prediction: Prediction, targets: Sequence[Target], dense: list[Tensor] | None
    ) -> dict[str, Tensor]:
        matches = [
            self._match(prediction, i, target, None if dense is None else dense[i]) for i, target in enumerate(targets)
        ]
        image = torch.cat([torch.full_like(q, i) for i, (q, _) in enumerate(matches)])
        query = torch.cat([q for q, _ in matches])
        labels = torch.full(prediction.logits.shape[:2], self.num_classes, device=prediction.logits.device)
        labels[image, query] = torch.cat([t.labels[n] for t, (_, n) in zip(targets, matches, strict=True)])
        weight = prediction.logits.new_ones(self.num_classes + 1)
        weight[-1] = self.settings.no_object
        classes = F.cross_entropy(prediction.logits.flatten(0, 1), labels.flatten(), weight)
        mask, dice = self._mask_losses(prediction.masks[image, query], targets, matches, dense)
        s = self.settings
        return {"class": s.class_weight * classes, "mask": s.mask_weight * mask, "dice": s.dice_weight * dice}

    @torch.no_grad()
    def _match(self, prediction: Prediction, i: int, target: Target, dense: Tensor | None) -> tuple[Tensor, Tensor]:
        masks = prediction.masks[i]
        if dense is not None:
            values, truth = masks.flatten(1), dense
        else:
            points = torch.rand(1, self.settings.points, 2, device=masks.device)
            values = sample_points(masks, points.expand(len(masks), -1, -1))
            truth = sample_points(target.masks.to(masks.dtype), points.expand(len(target.labels), -1, -1))
        costs = match_costs(prediction.logits[i], values, target.labels, truth)
        s = self.settings
        return assign(s.mask_weight * costs.mask + s.class_weight * costs.classes + s.dice_weight * costs.dice)

    def _mask_losses(
        self,
        matched: Tensor,
        targets: Sequence[Target],
        matches: Sequence[tuple[Tensor, Tensor]],
        dense: list[Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        # asked by every process before any may return: it waits for the others
        count = max(mean_over_processes(sum(len(t.labels) for t in targets), matched.device), 1)
        if len(matched) == 0:
            return matched.sum(), matched.sum()  # an empty sum: zero, with a gradient
        if dense is not None:
            values = matched.flatten(1)
            truth = torch.cat([maps[n] for maps, (_, n) in zip(dense, matches, strict=True)])
        else:
            masks = torch.cat([t.masks[n] for t, (_, n) in zip(targets, matches, strict=True)]).to(matched.dtype)
            points = self._uncertain_points(matched.detach())
            values, truth = sample_points(matched, points), sample_points(masks, points)
        mask = F.binary_cross_entropy_with_logits(values, truth, reduction="none").mean(1).sum() / count
        probability = values.sigmoid()
        dice = 1 - (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
        return mask, dice.sum() / count

    @torch.no_grad()
    def _uncertain_points(self, masks: Tensor) -> Tensor:
        """Points (N, P, 2) for mask logits (N, h, w): mostly where |logit| is smallest (PointRend)."""
        s = self.settings
        candidates = torch.rand(len(masks), int(s.points * s.oversample), 2, device=masks.device)
        uncertainty = -sample_points(masks, candidates).abs()
        important = int(s.importance * s.points)
        index = uncertainty.topk(important, dim=1).indices
        chosen = candidates.gather(1, index[:, :, None].expand(-1, -1, 2))
        return torch.cat((chosen, torch.rand(len(masks), s.points - important, 2, device=masks.device)), dim=1)


def _at_stride_4(target: Target, masks: Tensor) -> Tensor:
    """A target's masks averaged over the 4x4 pixels of each prediction pixel: (N, h*w) in [0, 1]."""
    averaged = F.avg_pool2d(target.masks.to(masks.dtype)[:, None], 4)
    return averaged.flatten(1)

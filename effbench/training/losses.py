"""All losses of a training step as one module, so that several processes can average the gradients of all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.data.transforms import Target
from effbench.encoders.contract import exits_of
from effbench.errors import InputError
from effbench.models.mask2former_decoder import Prediction
from effbench.models.segmenter import Segmenter, SegmenterOutput
from effbench.training.criterion import SetCriterion
from effbench.training.distributed import mean_over_processes
from effbench.training.exit_weights import exit_weights

PRECISIONS = ("float32", "bfloat16")
"""Of the segmenter's forward pass; bfloat16 by autocast, with the range of float32, so that no loss is scaled."""


class PixelClassifier(nn.Module):
    """Class of every pixel from the mask features: a training-time companion that teaches the features early."""

    def __init__(self, mask_dim: int, num_classes: int) -> None:
        super().__init__()
        self.classify = nn.Conv2d(mask_dim, num_classes, 1)

    def loss(self, mask_features: Tensor, targets: list[Target]) -> Tensor:
        """Cross-entropy of mask_features (B, C, H/4, W/4), averaged inside each segment, then over the segments.

        So a small thing counts as much as a wide background. A stride-4 pixel takes part in a segment as far as
        the segment covers its 4x4 pixels.
        """
        logits = self.classify(mask_features)
        losses = [logits.sum() * 0]  # a batch without a segment teaches nothing, but has a gradient
        for image, target in zip(logits, targets, strict=True):
            share = F.avg_pool2d(target.masks.to(logits.dtype)[:, None], 4)[:, 0]  # (N, H/4, W/4)
            entropy = -image.log_softmax(0)[target.labels]
            losses.append((entropy * share).flatten(1).sum(1) / share.flatten(1).sum(1).clamp(min=1e-6))
        segments = mean_over_processes(sum(len(target.labels) for target in targets), logits.device)
        return torch.cat([loss.reshape(-1) for loss in losses]).sum() / max(segments, 1)


class TrainingLosses(nn.Module):
    """The segmenter and its companion, from images to weighted losses by name.

    Args:
        precision: one of `PRECISIONS`, the segmenter's alone: what it gives is matched and compared in float32.
        exit_loss, alphas: of an early-exit encoder, as `exit_weights` has them. Its gate gets no gradient: it is
            trained apart, from what every exit is worth.
    """

    def __init__(
        self,
        model: Segmenter,
        pixel: PixelClassifier,
        criterion: SetCriterion,
        pixel_weight: float,
        precision: str = "float32",
        exit_loss: str = "last",
        alphas: Sequence[float] = (),
    ) -> None:
        super().__init__()
        exits = exits_of(model.encoder)
        if not exits and exit_loss != "last":
            name = type(model.encoder).__name__
            raise InputError(f"exit_loss={exit_loss!r} and {name}, which has no exits; expected early_exit, or 'last'")
        self.weights = exit_weights(exits, exit_loss, alphas) if exits else {}
        self.model, self.pixel = model, pixel
        self.criterion, self.pixel_weight = criterion, pixel_weight
        self.precision = precision

    def forward(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1], a target for each: the losses of `SetCriterion`, and `pixel` if it counts."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = self._outputs(images)
        total: dict[str, Tensor] = {}
        for output, weight in outputs:
            predictions = [Prediction(one.logits.float(), one.masks.float()) for one in output.predictions]
            losses = self.criterion(predictions, targets)
            if self.pixel_weight:
                losses["pixel"] = self.pixel_weight * self.pixel.loss(output.encoded.mask_features.float(), targets)
            for name, loss in losses.items():
                total[name] = weight * loss + total.get(name, 0) if self.weights else loss
        return total

    def _outputs(self, images: Tensor) -> list[tuple[SegmenterOutput, float]]:
        """What the model gives, with its weight: one output, or one for each exit that counts."""
        if len(self.weights) > 1:
            every = self.model.every_exit(self.model.backbone(self.model.prepare(images)))
            return [
                (output, self.weights[layer]) for output, layer in zip(every, exits_of(self.model.encoder), strict=True)
            ]
        only = next(iter(self.weights), None)
        return [(self.model(images) if only is None else self.model(images, only), 1.0)]

"""The training loop: one recipe for every encoder, resumable to the step after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from effbench.data.augmentation import augmentation
from effbench.data.coco_panoptic import Sample
from effbench.data.loader import StepBatches, load_batches, step_seed
from effbench.data.transforms import Batch
from effbench.encoders.contract import EarlyExit
from effbench.errors import DivergedError, InputError
from effbench.models.segmenter import STRIDE, Segmenter
from effbench.training.checkpoint import check_same, load, save_atomic
from effbench.training.criterion import CriterionSettings, SetCriterion
from effbench.training.distributed import wait_for_all, world
from effbench.training.exit_weights import check_exit_loss
from effbench.training.losses import PRECISIONS, PixelClassifier, TrainingLosses

SHOWN = ("class", "mask", "dice", "pixel")
NO_DECAY_NAMES = ("relative_position_bias_table", "absolute_pos_embed")
NO_DECAY = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.Embedding)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        steps, batch_size, crop: optimiser steps, images per step (of all processes), side of the crops in pixels.
        learning_rate, weight_decay: AdamW's; norms, embeddings and position biases do not decay, as in Mask2Former's
            release, nor do biases, which there do.
        backbone_rate: factor on the backbone's learning rate.
        warm_up: steps of linear warm-up, before the cosine to zero.
        clip_norm: full-model gradient clipping.
        pixel_weight: weight of the per-pixel class loss on the mask features; 0 is the papers' recipe.
        criterion: the set criterion's settings.
        seed: of the batches' order, the augmentation and the losses' sampled points.
        checkpoint_every: seconds between checkpoints.
        augmentation: "crop" (square crops and flips), or Mask2Former's "large_scale_jitter" (COCO) or "cityscapes"
            (crops twice as wide as `crop`); see `effbench.data.augmentation`.
        precision: "float32", or "bfloat16" for a segmenter that runs under autocast; weights, optimiser, losses and
            evaluation are float32 in both.
        exit_loss, alphas: which exits of an early-exit encoder are trained, and how much each counts: see
            `effbench.training.exit_weights`. The others ignore them.
    """

    steps: int
    batch_size: int = 8
    crop: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    backbone_rate: float = 1.0
    warm_up: int = 20
    clip_norm: float = 1.0
    pixel_weight: float = 1.0
    criterion: CriterionSettings = field(default_factory=CriterionSettings)
    seed: int = 0
    checkpoint_every: float = 20.0
    augmentation: str = "crop"
    precision: str = "float32"
    exit_loss: str = "last"
    alphas: tuple[float, ...] = ()

    @property
    def visits(self) -> int:
        """How often the training looks at an image."""
        return self.steps * self.batch_size

    def __post_init__(self) -> None:
        augmentation(self.augmentation)  # one that is not there is refused at once
        check_exit_loss(self.exit_loss, self.alphas)
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r}; expected one of {', '.join(PRECISIONS)}")
        if self.crop < STRIDE or self.crop % STRIDE:
            raise InputError(f"crop={self.crop}; expected a positive multiple of {STRIDE}, so that nothing is padded")
        if self.batch_size * (self.crop // STRIDE) ** 2 < 2:
            raise InputError(
                f"batch_size={self.batch_size} with crop={self.crop}; expected two pixels at stride {STRIDE} at least, "
                "which batch norms need: enlarge one of the two"
            )


@dataclass(frozen=True)
class StepReport:
    """Sent to the progress callback after every step."""

    step: int
    steps: int
    losses: dict[str, float]


class Trainer:
    """Trains a segmenter by a recipe and keeps a checkpoint on the way.

    In a process group (`effbench.training.distributed`) every process takes its share of a batch and ends with the
    same weights; norms over a batch see the share, and the first process alone writes and reports.

    Args:
        model: the segmenter, on the device it is to train on.
        dataset: samples of any size; they are cropped to the recipe's.
        num_classes: K.
        recipe: see `Recipe`.
        checkpoint: file to resume from and to write to, or None.
        on_step: called with a StepReport after every step.
        workers: processes that load images ahead of the training; 0 loads them in between. It changes no batch.

    Attributes:
        step, seconds: optimiser steps and time spent on them so far, before a kill included.
        resumed_at: the step that the checkpoint was at, or None.
    """

    def __init__(
        self,
        model: Segmenter,
        dataset: Dataset[Sample],
        num_classes: int,
        recipe: Recipe,
        checkpoint: Path | None = None,
        on_step: Callable[[StepReport], None] | None = None,
        workers: int = 0,
    ) -> None:
        if workers < 0:
            raise InputError(f"workers={workers}; expected 0 or more processes that load images")
        if recipe.batch_size % world().size:
            raise InputError(
                f"batch_size={recipe.batch_size} for {world().size} processes; expected a multiple of their number"
            )
        self.model, self.dataset, self.recipe = model, dataset, recipe
        self.checkpoint, self.on_step, self.workers = checkpoint, on_step, workers
        self.device = next(model.parameters()).device
        self.pixel = PixelClassifier(model.encoder.mask_dim, num_classes).to(self.device)
        self.criterion = SetCriterion(num_classes, recipe.criterion)
        self.optimizer = torch.optim.AdamW(self._parameter_groups(), lr=recipe.learning_rate, fused=True)
        self.step = 0
        self.seconds = 0.0
        self.resumed_at: int | None = None

    def run(self) -> None:
        """Train to the recipe's last step, from the checkpoint if there is one.

        Raises DivergedError when a loss is not finite, and InputError when the checkpoint is another model's.
        """
        self._resume()
        recipe, place = self.recipe, world()
        losses_of: nn.Module = TrainingLosses(
            self.model,
            self.pixel,
            self.criterion,
            recipe.pixel_weight,
            recipe.precision,
            recipe.exit_loss,
            recipe.alphas,
        ).train()
        if place.size > 1:
            # an early exit leaves its gate, and layers above the deepest exit, without a gradient
            unused = isinstance(self.model.encoder, EarlyExit)
            losses_of = nn.parallel.DistributedDataParallel(losses_of, find_unused_parameters=unused)
        last = saved_at = time.monotonic()
        batches = StepBatches(
            self.dataset,
            recipe.batch_size,
            recipe.crop,
            recipe.augmentation,
            recipe.seed,
            range(place.rank, recipe.batch_size, place.size),
        )
        on_gpu = self.device.type == "cuda"
        for batch in load_batches(batches, range(self.step, recipe.steps), self.workers, pin_memory=on_gpu):
            losses = self._train_step(losses_of, batch.to(self.device, non_blocking=on_gpu))
            self.step += 1
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.on_step and place.first:
                self.on_step(StepReport(self.step, self.recipe.steps, losses))
            if self.step == self.recipe.steps or now - saved_at > self.recipe.checkpoint_every:
                self.save()
                saved_at = now
        wait_for_all()

    def save(self) -> None:
        """Write the checkpoint, if there is a file for it."""
        if self.checkpoint is None or not world().first:
            return
        save_atomic(self._state(), self.checkpoint)

    def _state(self) -> dict[str, Any]:
        modules: dict[str, Any] = {"model": self.model, "pixel": self.pixel, "optimizer": self.optimizer}
        state = {name: module.state_dict() for name, module in modules.items()}
        return {"step": self.step, "seconds": self.seconds, **state}

    def _resume(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        own, state = self._state(), load(self.checkpoint)
        check_same(own, state, self.checkpoint)
        for part in ("model", "pixel"):
            check_same(own[part], state[part], self.checkpoint)
        self.model.load_state_dict(state["model"])
        self.pixel.load_state_dict(state["pixel"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{self.checkpoint} is of another optimiser ({error}); expected the checkpoint of this training, "
                "remove it to begin anew"
            ) from error
        self.step = self.resumed_at = state["step"]
        self.seconds = state["seconds"]

    def _parameter_groups(self) -> list[dict[str, object]]:
        recipe = self.recipe
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for root in (self.model, self.pixel):
            for name, module in root.named_modules():
                in_backbone = name.startswith("backbone")
                for own, parameter in module.named_parameters(recurse=False):
                    decays = parameter.dim() > 1 and not isinstance(module, NO_DECAY) and own not in NO_DECAY_NAMES
                    groups.setdefault((in_backbone, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "rate": recipe.backbone_rate if in_backbone else 1.0,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (in_backbone, decays), parameters in groups.items()
        ]

    def _rate(self) -> float:
        recipe, step = self.recipe, self.step
        if step < recipe.warm_up:
            return recipe.learning_rate * (step + 1) / recipe.warm_up
        done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _train_step(self, losses_of: nn.Module, batch: Batch) -> dict[str, float]:
        torch.manual_seed(step_seed(self.recipe.seed, self.step, world().rank))
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["rate"]
        losses: dict[str, Tensor] = losses_of(batch.images, batch.targets)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.pixel.parameters()], self.recipe.clip_norm)
        self.optimizer.step()
        value = float(total.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"the training has diverged: the loss is {value} at step {self.step}; expected a finite one, "
                "lower the learning rate"
            )
        return {"loss": value, **{name: float(losses[name].detach()) for name in SHOWN if name in losses}}

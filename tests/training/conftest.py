"""A few images and a model that trains on them in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root
from effbench.data.memory import InMemory
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.training.criterion import CriterionSettings
from effbench.training.trainer import Recipe

CLASSES = 15
MODEL: dict[str, Any] = {
    "encoder": "fpn",
    "backbone": "resnet_mini",
    "num_queries": 6,
    "dim": 32,
    "mask_dim": 32,
    "decoder_settings": {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_root() -> Path:
    """Six generated images of 64 x 64 pixels, three of them for validation."""
    return embedded_root(size=64, counts={"train2017": 3, "val2017": 3})


@pytest.fixture(scope="session")
def tiny_data(tiny_root: Path) -> InMemory:
    """The three images for training."""
    return InMemory(CocoPanoptic(tiny_root, "train2017"))


@pytest.fixture
def model_settings() -> dict[str, Any]:
    """The arguments of build_segmenter for a narrow model, but for the number of classes."""
    return {**MODEL, "decoder_settings": dict(MODEL["decoder_settings"])}


@pytest.fixture
def make_model() -> Callable[..., Segmenter]:
    """The narrow model with weights that its seed decides."""

    def make(seed: int = 0, **settings: Any) -> Segmenter:
        torch.manual_seed(seed)
        return build_segmenter(num_classes=CLASSES, **{**MODEL, **settings})

    return make


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    """A few steps on whole images, with what a test changes about them."""
    plain = {"steps": 4, "batch_size": 2, "crop": 64, "warm_up": 2, "criterion": CriterionSettings(sampling="dense")}
    return lambda **changes: Recipe(**{**plain, **changes})

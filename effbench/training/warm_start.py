"""One start for all encoders: backbone and decoder trained once, under a neck that favours none of them.

The neck is a 1x1 projection per map and nothing else that learns; it is thrown away afterwards. Without a warm
start every encoder would spend its few minutes on a CPU teaching the same backbone to see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from effbench.cache import cache_folder
from effbench.data.memory import image_source
from effbench.data.roots import open_split
from effbench.encoders.contract import Encoder, EncoderOutput, Features
from effbench.encoders.layers import ConvNorm
from effbench.models.backbones import build_backbone
from effbench.models.mask2former_decoder import Mask2FormerDecoder
from effbench.models.segmenter import Segmenter
from effbench.study.source import source_hash
from effbench.training.checkpoint import load, save_atomic
from effbench.training.trainer import Recipe, StepReport, Trainer

EMBEDDED_SOURCE = "effbench.data.embedded"
"""What generates the embedded set: its recipe is part of what a warm start has seen."""


@dataclass(frozen=True)
class WarmStart:
    """What is trained: everything that the encoders of one study share.

    `dataset` names the data for good: another set, or another size of it, is another warm start.
    """

    dataset: str
    backbone: str
    backbone_settings: Mapping[str, Any]
    dim: int
    queries: int
    decoder_settings: Mapping[str, Any]
    recipe: Recipe
    device: str = "cpu"


class ProjectionNeck(Encoder):
    """The least that a decoder can stand on: every map projected, the four summed at stride 4 for the masks."""

    def __init__(self, features: Features, dim: int) -> None:
        super().__init__(features, dim, mask_dim=dim)
        self.project = nn.ModuleDict({name: ConvNorm(spec.channels, dim, 1) for name, spec in self.specs.items()})
        self.mask_features = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        maps = {name: project(features[name]) for name, project in self.project.items()}
        size = maps["res2"].shape[-2:]
        resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps.values()]
        mask_features = self.mask_features(F.relu(torch.stack(resized).sum(0)))
        return EncoderOutput(mask_features, (maps["res5"], maps["res4"], maps["res3"]))


def path_of(start: WarmStart) -> Path:
    """Where the warm start is kept: its name holds all it depends on, the sources included."""
    depends = [asdict(start), source_hash([__name__, EMBEDDED_SOURCE]), torch.__version__]
    key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / f"warm-start-{key}.pt"


def make(start: WarmStart, root: Path, on_step: Callable[[StepReport], None] | None = None, workers: int = 0) -> Path:
    """Train the warm start on the data set in `root` if it is not there yet, and return its file.

    Resumes after a kill; a second process waits for the first. `workers` processes load a large set's images ahead.
    """
    path = path_of(start)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            return path
        data = open_split(root, "train")
        torch.manual_seed(start.recipe.seed)
        backbone = build_backbone(start.backbone, **start.backbone_settings)
        classes = len(data.categories)
        decoder = Mask2FormerDecoder(start.dim, start.dim, classes, start.queries, **start.decoder_settings)
        model = Segmenter(backbone, ProjectionNeck(backbone.features, start.dim), decoder).to(start.device)
        unfinished = path.with_suffix(".partial")
        dataset, workers = image_source(data, start.recipe.visits, workers)
        trainer = Trainer(model, dataset, classes, start.recipe, unfinished, on_step, workers)
        trainer.run()
        state = {name: getattr(model, name).state_dict() for name in ("backbone", "decoder")}
        save_atomic({**state, "seconds": trainer.seconds}, path)
        unfinished.unlink(missing_ok=True)
    return path


def apply(path: Path, model: Segmenter) -> None:
    """Give `model` the warm backbone and decoder; its encoder keeps its fresh weights."""
    state = load(path)
    model.backbone.load_state_dict(state["backbone"])
    model.decoder.load_state_dict(state["decoder"])

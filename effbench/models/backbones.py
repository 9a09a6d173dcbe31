"""Backbones from timm, as a pyramid of four named maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
from timm.layers.format import Format
from torch import Tensor, nn

from effbench.encoders.contract import LEVELS, FeatureSpec, did_you_mean
from effbench.errors import InputError


@dataclass(frozen=True)
class BackbonePreset:
    """A backbone under the name the papers use."""

    timm_name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    queries: int = 100
    """Queries of the papers' decoder on this backbone."""


PRESETS: Mapping[str, BackbonePreset] = {
    "r50": BackbonePreset("resnet50"),
    "r101": BackbonePreset("resnet101"),
    "swin_t": BackbonePreset("swin_tiny_patch4_window7_224"),
    "swin_s": BackbonePreset("swin_small_patch4_window7_224"),
    "swin_b": BackbonePreset("swin_base_patch4_window12_384"),
    "swin_l": BackbonePreset("swin_large_patch4_window12_384", queries=200),
    # narrow enough to train in a minute on a CPU
    "resnet_mini": BackbonePreset("resnet18", {"channels": (32, 48, 96, 128), "layers": (1, 1, 1, 1)}),
}


class Backbone(nn.Module):
    """A timm model as `name -> (B, C, H/s, W/s)` for res2..res5.

    Maps that timm gives channels-last get a LayerNorm each, as Mask2Former's Swin has one per output stage.

    Attributes:
        features: name -> FeatureSpec of the maps that forward returns.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        info: Any = body.feature_info
        index_of = dict(zip(info.reduction(), range(len(info.channels())), strict=True))
        missing = [stride for stride in LEVELS.values() if stride not in index_of]
        if missing:
            raise InputError(
                f"the backbone has maps at strides {sorted(index_of)}, expected {list(LEVELS.values())}; "
                "choose one with four stages down to stride 32"
            )
        self.index = {name: index_of[stride] for name, stride in LEVELS.items()}
        self.features = {name: FeatureSpec(info.channels()[i], LEVELS[name]) for name, i in self.index.items()}
        self.channels_last = getattr(body, "output_fmt", Format.NCHW) == Format.NHWC
        if self.channels_last:
            self.norms = nn.ModuleDict({name: nn.LayerNorm(spec.channels) for name, spec in self.features.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) normalised, H and W multiples of 32."""
        maps = self.body(images)
        pyramid = {name: maps[i] for name, i in self.index.items()}
        if self.channels_last:
            pyramid = {name: self.norms[name](x).permute(0, 3, 1, 2) for name, x in pyramid.items()}
        return pyramid


def preset(name: str) -> BackbonePreset:
    """The preset called `name`, or any timm model under its own name; InputError when timm has none such."""
    if name in PRESETS:
        return PRESETS[name]
    if not timm.is_model(name):
        hint = did_you_mean(name, [*PRESETS, *timm.list_models()])
        raise InputError(f"no backbone is called {name!r}; {hint}known: {', '.join(PRESETS)}, and any timm model name")
    return BackbonePreset(name)


def build_backbone(name: str, pretrained: bool = False, **settings: Any) -> Backbone:
    """Build a backbone.

    Args:
        name: a preset (r50, r101, swin_t, swin_s, swin_b, swin_l, resnet_mini) or any timm model with four stages.
        pretrained: load timm's ImageNet weights (downloads them).
        settings: timm's own arguments, over the preset's.

    Raises:
        InputError: unknown name, or a model without maps at strides 4, 8, 16, 32.
    """
    chosen = preset(name)
    arguments: dict[str, Any] = {**chosen.settings, **settings}
    if "swin" in chosen.timm_name:
        arguments.setdefault("strict_img_size", False)
    try:
        body = timm.create_model(chosen.timm_name, pretrained=pretrained, features_only=True, **arguments)
    except (TypeError, RuntimeError) as error:
        raise InputError(
            f"timm cannot build {chosen.timm_name!r} with {arguments} as a feature pyramid: {error}"
        ) from error
    return Backbone(body)

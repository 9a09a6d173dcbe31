"""Backbone, encoder and decoder as one model that takes images of any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import EarlyExit, Encoder, EncoderOutput
from effbench.encoders.registry import build_encoder
from effbench.errors import InputError
from effbench.models.backbones import Backbone, build_backbone
from effbench.models.mask2former_decoder import Mask2FormerDecoder, Prediction

STRIDE = 32
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

DECODERS = {"mask2former": Mask2FormerDecoder}
DECODER_SETTINGS = ("layers", "dim", "heads", "ffn_dim")


@dataclass(frozen=True)
class SegmenterOutput:
    """What the segmenter returns for a batch.

    Attributes:
        predictions: one per prediction head, the last is the answer.
        encoded: what the encoder gave (its `exit` included).
        padded_size: (H, W) of the padded input, 4 times the masks' size.
    """

    predictions: list[Prediction]
    encoded: EncoderOutput
    padded_size: tuple[int, int]


class Segmenter(nn.Module):
    """Normalises and pads images, then runs backbone, encoder and decoder."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.backbone, self.encoder, self.decoder = backbone, encoder, decoder
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """RGB images (B, 3, H, W) in [0, 1], normalised and zero-padded right and below to multiples of 32."""
        height, width = images.shape[-2:]
        normalised = (images - self.mean) / self.std
        return F.pad(normalised, (0, -width % STRIDE, 0, -height % STRIDE))

    def forward(self, images: Tensor, exit: int | Tensor | None = None) -> SegmenterOutput:
        """images (B, 3, H, W) RGB in [0, 1], any size; `exit` is for an encoder with early exits (None: its gate's)."""
        padded = self.prepare(images)
        features = self.backbone(padded)
        encoded = self.encoder(features) if exit is None else self.encoder(features, exit=exit)
        return SegmenterOutput(self.decoder(encoded), encoded, (padded.shape[2], padded.shape[3]))

    def every_exit(self, features: Mapping[str, Tensor]) -> list[SegmenterOutput]:
        """What each exit of an early-exit encoder gives for the backbone's maps of padded images.

        The encoder runs once, the decoder for every exit.
        """
        height, width = features["res2"].shape[-2:]
        if not isinstance(self.encoder, EarlyExit):
            raise ValueError(f"{type(self.encoder).__name__} has no early exits; expected the encoder early_exit")
        outputs = self.encoder.every_exit(features)
        return [SegmenterOutput(self.decoder(encoded), encoded, (4 * height, 4 * width)) for encoded in outputs]


def build_segmenter(
    encoder: str,
    backbone: str,
    decoder: str = "mask2former",
    num_classes: int = 133,
    num_queries: int = 100,
    *,
    backbone_settings: Mapping[str, Any] | None = None,
    decoder_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Segmenter:
    """Build a segmenter.

    Args:
        encoder: a registered encoder name; `settings` are its settings.
        backbone: a preset or timm name; `backbone_settings` go to timm.
        decoder: "mask2former".
        num_classes: K, without "no object".
        num_queries: Q.
        decoder_settings: layers, dim, heads, ffn_dim of the decoder.

    Raises:
        SettingError, InputError: an unknown name, or a setting that nothing can be built with.
    """
    if decoder not in DECODERS:
        raise InputError(f"no decoder is called {decoder!r}; expected one of {', '.join(DECODERS)}")
    for setting in decoder_settings or {}:
        if setting not in DECODER_SETTINGS:
            raise InputError(f"decoder setting {setting!r}; allowed: {', '.join(DECODER_SETTINGS)}")
    body = build_backbone(backbone, **(backbone_settings or {}))
    built = build_encoder(encoder, body.features, **settings)
    head = DECODERS[decoder](built.dim, built.mask_dim, num_classes, num_queries, **(decoder_settings or {}))
    return Segmenter(body, built, head)

"""Mask2Former's own encoder: every layer updates the tokens of all three scales."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from effbench.encoders.contract import LEVELS, EncoderOutput, Features, SettingError, positive
from effbench.encoders.deformable import (
    COARSE_TO_FINE,
    DeformableLayer,
    MSDeformAttn,
    check_deformable,
    flatten,
    input_projection,
    layer_copies,
    positions,
    reference_points,
    reset_transformer,
    unflatten,
)
from effbench.encoders.layers import PixelEmbedding, TableLinear
from effbench.encoders.one_size import OneSize
from effbench.encoders.registry import register
from effbench.encoders.stack import LayerStack, Place, Stack


class DeformableTransformer(nn.Module):
    """Level embeddings and a stack of layers; the stack decides which tokens each layer sees."""

    def __init__(self, dim: int, encoder: Stack) -> None:
        super().__init__()
        self.encoder = encoder
        self.known: OneSize | None = None
        self.level_embed = nn.Parameter(torch.empty(len(COARSE_TO_FINE), dim))
        reset_transformer(self)

    def forward(
        self, maps: Sequence[Tensor], exits: Tensor | None = None, depths: Sequence[int] | None = None
    ) -> list[Tensor]:
        """Projected maps (B, C, H, W), coarse to fine, to maps of the same shapes; `exits` and `depths` as in Stack."""
        place = self.place(maps)
        return unflatten(self.encoder(flatten(maps), place, exits, depths), place.shapes)

    def every_exit(self, maps: Sequence[Tensor], exits: Sequence[int]) -> list[list[Tensor]]:
        """The maps as of each of `exits`, from one pass."""
        place = self.place(maps)
        return [unflatten(tokens, place.shapes) for tokens in self.encoder.every_exit(flatten(maps), place, exits)]

    def fix(self, height: int, width: int) -> None:
        """Serve images of one size alone, for inference: see `Encoder.at_size`."""
        if self.known is not None:
            raise SettingError(
                f"this encoder is made for maps of {list(self.known.shapes)} already; expected the one that `at_size` "
                "was called on"
            )
        positive("height", height)
        positive("width", width)
        # rounded up, as strided convolutions do
        shapes = [(-(-height // LEVELS[name]), -(-width // LEVELS[name])) for name in COARSE_TO_FINE]
        like = self.level_embed
        position = positions(shapes, like.to(torch.promote_types(like.dtype, torch.float32)))
        for module in self.encoder.modules():
            if isinstance(module, MSDeformAttn):
                for name in ("sampling_offsets", "attention_weights"):
                    setattr(module, name, TableLinear(getattr(module, name), position))
        self.known = OneSize(shapes, reference_points(shapes, like))

    def place(self, maps: Sequence[Tensor]) -> Place:
        """Where the tokens of `maps` (B, C, H, W), coarse to fine, stand."""
        shapes = [(int(x.shape[2]), int(x.shape[3])) for x in maps]
        if self.known is not None:
            return self.known.place(shapes)
        return Place(positions(shapes, self.level_embed), reference_points(shapes, like=maps[0]), shapes)


class DeformablePixelDecoder(PixelEmbedding):
    """Projections, a deformable transformer over res5, res4, res3, and the pixel embedding on res2."""

    def __init__(
        self, features: Features, dim: int, mask_dim: int, embedding: str, stack: Stack, use_res2: bool = True
    ) -> None:
        super().__init__(features, dim, mask_dim, embedding, use_res2)
        self.input_proj = nn.ModuleList(input_projection(self.specs[name].channels, dim) for name in COARSE_TO_FINE)
        self.transformer = DeformableTransformer(dim, stack)

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        coarse, middle, fine = self.transformer(self.project(features))
        return EncoderOutput(self.embed(features["res2"], fine), (coarse, middle, fine))

    def at_size(self, height: int, width: int) -> DeformablePixelDecoder:
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        copied.transformer.fix(height, width)
        return copied

    def project(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """res5, res4 and res3 in the encoder's width."""
        return [project(features[name]) for project, name in zip(self.input_proj, COARSE_TO_FINE, strict=True)]


@register("mask2former")
class Mask2FormerEncoder(DeformablePixelDecoder):
    """Mask2Former's pixel decoder with `layers` deformable layers over three scales.

    Args:
        features: res2..res5.
        layers: number of transformer layers, 6 in the paper.
        dim: channels of all tokens and maps; a multiple of 32 and of `heads`.
        mask_dim: channels of the mask features.
        embedding: how neighbours mix at stride 4: conv (released), max_pool, avg_pool, depthwise, none.
        res2: False leaves the stride-4 map out (PRO-SCALE's "completely remove s1"); needs embedding=none.
        heads, points: attention heads, sampled points per head and level.
        ffn_dim: width of the feed-forward network.
        impl: implementation of the deformable operator.

    Raises:
        SettingError: a value outside what is said above.

    Source: Mask2Former (Cheng et al. 2022), section 3.2.2; names of facebookresearch/Mask2Former 9b0651c (MIT).
    """

    stack_type: type[Stack] = LayerStack

    def __init__(
        self,
        features: Features,
        *,
        layers: int = 6,
        dim: int = 256,
        mask_dim: int = 256,
        embedding: str = "conv",
        res2: bool = True,
        heads: int = 8,
        points: int = 4,
        ffn_dim: int = 1024,
        impl: str = "auto",
    ) -> None:
        check_deformable(dim, heads, points, ffn_dim, impl)
        layer = DeformableLayer(dim, len(COARSE_TO_FINE), heads, points, ffn_dim, impl)
        stack = self.stack_type(layer_copies(layer, positive("layers", layers)))
        super().__init__(features, dim, mask_dim, embedding, stack, res2)

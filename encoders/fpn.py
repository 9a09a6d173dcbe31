"""The feature pyramid network: no attention, the plainest encoder that Mask2Former's decoder can stand on."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import Encoder, EncoderOutput, Features, multiple
from effbench.encoders.layers import NORM_GROUPS, ConvNorm, embedding_layer, fan_in_uniform
from effbench.encoders.registry import register


@register("fpn")
class FPNEncoder(Encoder):
    """Mask2Former's BasePixelDecoder: lateral 1x1, nearest top-down sum, 3x3 output, at four scales.

    Unlike the transformer encoders, its mask features come from a 3x3 convolution.

    Args:
        features: res2..res5.
        dim: channels of all maps; a multiple of 32.
        mask_dim: channels of the mask features.
        embedding: what stands at stride 4 in place of the 3x3 output convolution (conv is the released one).

    Raises:
        SettingError: a value outside what is said above.

    Source: FPN (Lin et al. 2017); names of facebookresearch/Mask2Former 9b0651c (MIT).
    """

    def __init__(self, features: Features, *, dim: int = 256, mask_dim: int = 256, embedding: str = "conv") -> None:
        super().__init__(features, dim, mask_dim)
        multiple("dim", dim, NORM_GROUPS, "GroupNorm groups")
        self.layer_4 = ConvNorm(self.specs["res5"].channels, dim, 3, relu=True)
        self.adapter_3 = ConvNorm(self.specs["res4"].channels, dim, 1)
        self.layer_3 = ConvNorm(dim, dim, 3, relu=True)
        self.adapter_2 = ConvNorm(self.specs["res3"].channels, dim, 1)
        self.layer_2 = ConvNorm(dim, dim, 3, relu=True)
        self.adapter_1 = ConvNorm(self.specs["res2"].channels, dim, 1)
        self.layer_1 = embedding_layer(embedding, dim)
        self.mask_features = nn.Conv2d(dim, mask_dim, 3, padding=1)
        fan_in_uniform(self.mask_features)

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        stride32 = self.layer_4(features["res5"])
        stride16 = self.layer_3(_top_down(self.adapter_3(features["res4"]), stride32))
        stride8 = self.layer_2(_top_down(self.adapter_2(features["res3"]), stride16))
        stride4 = self.layer_1(_top_down(self.adapter_1(features["res2"]), stride8))
        return EncoderOutput(self.mask_features(stride4), (stride32, stride16, stride8))


def _top_down(lateral: Tensor, coarse: Tensor) -> Tensor:
    return lateral + F.interpolate(coarse, size=lateral.shape[-2:], mode="nearest")

"""MaskConver's ConvNeXt-UNet: no attention, most blocks on the coarsest map, where they are cheap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch.nn.functional as F
from timm.layers.layer_scale import LayerScale2d
from timm.layers.norm import LayerNorm2d
from timm.layers.squeeze_excite import SqueezeExcite
from torch import Tensor, nn

from effbench.encoders.contract import EncoderOutput, Features, SettingError, flag
from effbench.encoders.deformable import COARSE_TO_FINE
from effbench.encoders.layers import PixelEmbedding
from effbench.encoders.registry import register

KERNEL = 7
EXPANSION = 4
SQUEEZE = 1 / 16
LAYER_SCALE = 1e-6


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, 1x1 to four times the width, GELU, squeeze-excite, 1x1 back, layer scale, residual.

    timm's ConvNeXt block has no squeeze-excite in the wide part, so this one is put together from timm's layers.
    """

    def __init__(self, dim: int, squeeze_excite: bool) -> None:
        super().__init__()
        wide = EXPANSION * dim
        self.depthwise = nn.Conv2d(dim, dim, KERNEL, padding=KERNEL // 2, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.expand = nn.Conv2d(dim, wide, 1)
        self.squeeze_excite = SqueezeExcite(wide, SQUEEZE, rd_divisor=1) if squeeze_excite else nn.Identity()
        self.project = nn.Conv2d(wide, dim, 1)
        self.scale = LayerScale2d(dim, LAYER_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y = self.squeeze_excite(F.gelu(self.expand(self.norm(self.depthwise(x)))))
        return x + self.scale(self.project(y))


@register("convnext_unet")
class ConvNeXtUNetEncoder(PixelEmbedding):
    """ConvNeXt blocks over res5, res4 and res3 in turn, each stage on its lateral plus the coarser stage upsampled.

    MaskConver reads its own heads from these maps. Here they are brought to `dim` by 1x1 convolutions, and the mask
    features are made as in `mask2former`. Stochastic depth (0.1 in the release) is left out.

    Args:
        features: res2..res5.
        n: blocks over res5, res4, res3.
        d: their widths.
        squeeze_excite: whether the blocks have it (printed as +6M parameters).
        dim: channels of the three maps; a multiple of 32.
        mask_dim, embedding: as in `mask2former`.

    Raises:
        SettingError: a value outside what is said above.

    Source: MaskConver (Rashwan et al. 2023), section 3.1; tensorflow/models, official/projects/maskconver.
    """

    def __init__(
        self,
        features: Features,
        *,
        n: tuple[int, int, int] = (18, 1, 1),
        d: tuple[int, int, int] = (384, 384, 384),
        squeeze_excite: bool = True,
        dim: int = 256,
        mask_dim: int = 256,
        embedding: str = "conv",
    ) -> None:
        super().__init__(features, dim, mask_dim, embedding)
        depths, widths = _three("n", n, least=0), _three("d", d, least=1)
        flag("squeeze_excite", squeeze_excite)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(self.specs[name].channels, width, 1, bias=False), LayerNorm2d(width))
            for name, width in zip(COARSE_TO_FINE, widths, strict=True)
        )
        # the release has one width; where two stages differ, the coarser map is brought to the finer one's
        self.resized = nn.ModuleList(
            nn.Identity() if coarse == fine else nn.Conv2d(coarse, fine, 1) for coarse, fine in pairwise(widths)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(width, squeeze_excite) for _ in range(depth)), nn.GELU())
            for depth, width in zip(depths, widths, strict=True)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in widths)

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        x: Tensor | None = None
        maps = []
        for level, name in enumerate(COARSE_TO_FINE):
            lateral = self.laterals[level](features[name])
            if x is not None:
                lateral = lateral + F.interpolate(self.resized[level - 1](x), size=lateral.shape[-2:], mode="nearest")
            x = self.stages[level](lateral)
            maps.append(self.outputs[level](x))
        coarse, middle, fine = maps
        return EncoderOutput(self.embed(features["res2"], fine), (coarse, middle, fine))


def _three(name: str, values: Sequence[int], least: int) -> tuple[int, int, int]:
    found = tuple(values) if isinstance(values, Sequence) else ()
    if len(found) != 3 or any(not isinstance(v, int) or isinstance(v, bool) or v < least for v in found):
        raise SettingError(f"{name}={values!r}, expected three integers of at least {least}, such as {name}=(3,3,3)")
    return found[0], found[1], found[2]

"""Blocks that several encoders share: convolutions with a norm, the stride-4 pixel embedding, positions.

Parameter names are those of the released Mask2Former pixel decoder, so that its checkpoints load.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import Encoder, Features, SettingError, choice, flag, multiple

NORM_GROUPS = 32
EMBEDDINGS = ("conv", "max_pool", "avg_pool", "depthwise", "none")


def group_norm(channels: int) -> nn.GroupNorm:
    """The norm of every map in Mask2Former's pixel decoder ("GN")."""
    return nn.GroupNorm(NORM_GROUPS, channels)


class ConvNorm(nn.Conv2d):
    """Convolution without bias, GroupNorm, then ReLU if asked; weight and `norm.*` as in the released names."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, groups: int = 1, relu: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False)
        self.norm = group_norm(out_channels)
        self.relu = relu
        fan_in_uniform(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        x = self.norm(super().forward(x))
        return F.relu(x, inplace=True) if self.relu else x


class PoolNorm(nn.Module):
    """3x3 pooling at stride 1 in place of the 3x3 convolution, GroupNorm, ReLU: PRO-SCALE's light pixel embedding.

    Source: PRO-SCALE, section 3.1.1 (LPE, max pooling); average pooling and none are variants of ours.
    """

    def __init__(self, channels: int, kind: str) -> None:
        super().__init__()
        pools: dict[str, type[nn.Module]] = {"max_pool": nn.MaxPool2d, "avg_pool": nn.AvgPool2d}
        self.pool = pools[kind](3, stride=1, padding=1) if kind in pools else nn.Identity()
        self.norm = group_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return F.relu(self.norm(self.pool(x)), inplace=True)


def added(result: Tensor, other: Tensor) -> Tensor:
    """Their sum, in the memory of `result`, which nobody else may read: a new large tensor costs more than the sum.

    Not where their dtypes differ, as under autocast: `result` may have too few bits for the sum.
    """
    return result.add_(other) if result.dtype == other.dtype else result + other


def embedding_layer(kind: str, dim: int) -> nn.Module:
    """What mixes neighbours at stride 4 after the top-down sum: `kind` is one of `EMBEDDINGS`."""
    choice("embedding", kind, EMBEDDINGS)
    if kind == "conv":
        return ConvNorm(dim, dim, 3, relu=True)
    if kind == "depthwise":
        return ConvNorm(dim, dim, 3, groups=dim, relu=True)
    return PoolNorm(dim, kind)


def fan_in_uniform(module: nn.Conv2d) -> None:
    """Kaiming-uniform weights (a=1) and zero bias: what the releases call c2_xavier_fill."""
    nn.init.kaiming_uniform_(module.weight, a=1)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class TableLinear(nn.Module):
    """A linear layer of tokens plus their positions, given the tokens alone, for one size.

    As (x + position) W = x W + position W, the second term is a table, and nothing is added to the tokens.
    """

    def __init__(self, linear: nn.Linear, position: Tensor) -> None:
        """`position` (S, C) in at least float32; the table keeps the layer's dtype."""
        super().__init__()
        self.weight = linear.weight
        wide = (linear.weight.to(position.dtype), linear.bias.to(position.dtype))
        self.table: Tensor
        with torch.no_grad():
            self.register_buffer("table", F.linear(position, *wide).to(linear.weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The first Q tokens (B, Q, C) to (B, Q, C_out)."""
        table = self.table[: x.shape[1]]
        if len(x) == 1:
            return torch.addmm(table, x[0], self.weight.T)[None]
        return F.linear(x, self.weight).add_(table)


class PixelEmbedding(Encoder):
    """Base of the encoders whose mask features come from res2 plus the encoder's own stride-8 map.

    Lateral 1x1 with norm, bilinear top-down sum, `embedding` (3x3 convolution as in Mask2Former, or a cheaper
    one), 1x1 to `mask_dim`. Source: Mask2Former's MSDeformAttnPixelDecoder.

    With `use_res2` off nothing at stride 4 enters: the 1x1 works on the stride-8 map, as the release does at
    COMMON_STRIDE 8, and its output is resized to the stride 4 that the decoder expects.
    """

    def __init__(self, features: Features, dim: int, mask_dim: int, embedding: str, use_res2: bool = True) -> None:
        super().__init__(features, dim, mask_dim)
        multiple("dim", dim, NORM_GROUPS, "GroupNorm groups")
        layer = embedding_layer(embedding, dim)
        self.use_res2 = flag("res2", use_res2)
        if use_res2:
            self.adapter_1 = ConvNorm(self.specs["res2"].channels, dim, 1)
            self.layer_1 = layer
        elif embedding != "none":
            raise SettingError(f"embedding={embedding!r}, expected none: res2=False leaves no map at stride 4 for it")
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)
        fan_in_uniform(self.mask_features)

    def embed(self, res2: Tensor, stride8: Tensor) -> Tensor:
        """res2 (B, C, H/4, W/4) and the encoder's (B, dim, H/8, W/8) to mask features (B, mask_dim, H/4, W/4)."""
        if not self.use_res2:
            at_stride8 = self.mask_features(stride8)
            return F.interpolate(at_stride8, size=res2.shape[-2:], mode="bilinear", align_corners=False)
        lateral = self.adapter_1(res2)
        top_down = F.interpolate(stride8, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(self.layer_1(added(lateral, top_down)))


def sine_position(height: int, width: int, dim: int, device: torch.device, temperature: float = 10000.0) -> Tensor:
    """Two-dimensional sine position (dim, H, W) in float32; channels are y first, then x, sine and cosine in turn.

    Coordinates run from 1 to H (W), divided by H (W) and scaled to 2 pi, as DETR's normalised embedding has them.
    """
    half = dim // 2
    channel = torch.arange(half, dtype=torch.float32, device=device)
    period = temperature ** (2 * torch.div(channel, 2, rounding_mode="floor") / half)

    def axis(size: int) -> Tensor:  # (size, half)
        position = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        angle = (position / (size + 1e-6) * 2 * math.pi)[:, None] / period
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    y = axis(height)[:, None].expand(height, width, half)
    x = axis(width)[None].expand(height, width, half)
    return torch.cat((y, x), dim=2).permute(2, 0, 1)

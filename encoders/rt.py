"""RT-DETR's hybrid encoder on Mask2Former's scales: attention on the coarsest map alone, convolutions for the rest."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import EncoderOutput, Features, choice, flag, multiple, positive
from effbench.encoders.deformable import COARSE_TO_FINE
from effbench.encoders.layers import PixelEmbedding
from effbench.encoders.registry import register

POSITIONS = ("released", "aligned")
BLOCKS = 3


class ConvBatchNorm(nn.Module):
    """Convolution without bias, BatchNorm, and SiLU if asked."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, silu: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, ceil(H / stride), ceil(W / stride))."""
        x = self.norm(self.conv(x))
        return F.silu(x) if self.silu else x


class RepVggBlock(nn.Module):
    """A 3x3 and a 1x1 convolution side by side, summed; `fused`, the one 3x3 convolution that they amount to."""

    def __init__(self, channels: int, fused: bool) -> None:
        super().__init__()
        if fused:
            self.conv: nn.Conv2d | None = nn.Conv2d(channels, channels, 3, padding=1)
        else:
            self.conv = None
            self.conv1 = ConvBatchNorm(channels, channels, 3, silu=False)
            self.conv2 = ConvBatchNorm(channels, channels, 1, silu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return F.silu(self.conv(x) if self.conv is not None else self.conv1(x) + self.conv2(x))

    @torch.no_grad()
    def fuse(self) -> None:
        """Replace the two branches by the convolution that gives the same in evaluation mode; trains no further."""
        if self.conv is not None:
            return
        first, second = (
            nn.utils.fuse_conv_bn_eval(branch.conv.eval(), branch.norm.eval()) for branch in (self.conv1, self.conv2)
        )
        assert first.bias is not None and second.bias is not None  # fusing a norm always leaves one
        self.conv = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1).to(first.weight)
        self.conv.weight.copy_(first.weight + F.pad(second.weight, (1, 1, 1, 1)))
        self.conv.bias.copy_(first.bias + second.bias)  # type: ignore[union-attr]
        del self.conv1, self.conv2


class CrossStageBlock(nn.Module):
    """Two 1x1 paths, one of them through RepVGG blocks, summed (CSPRepLayer at expansion 1)."""

    def __init__(self, in_channels: int, channels: int, fused: bool) -> None:
        super().__init__()
        self.conv1 = ConvBatchNorm(in_channels, channels, 1)
        self.conv2 = ConvBatchNorm(in_channels, channels, 1)
        self.bottlenecks = nn.Sequential(*(RepVggBlock(channels, fused) for _ in range(BLOCKS)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C, H, W)."""
        return self.bottlenecks(self.conv1(x)) + self.conv2(x)


class AttentionLayer(nn.Module):
    """One post-norm self-attention layer over all tokens of a map; positions enter queries and keys."""

    def __init__(self, dim: int, heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x (B, S, C), position (S, C): (B, S, C)."""
        at = x + position
        x = self.norm1(x + self.self_attn(at, at, x, need_weights=False)[0])
        return self.norm2(x + self.linear2(F.gelu(self.linear1(x))))


class AttentionStack(nn.Module):
    """Holds the layer under its released name."""

    def __init__(self, layer: AttentionLayer) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer])

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x (B, S, C), position (S, C): (B, S, C)."""
        for layer in self.layers:
            x = layer(x, position)
        return x


@register("rt")
class RTEncoder(PixelEmbedding):
    """RT-DETR's encoder in place of Mask2Former's: AIFI on res5, CCFM over res5, res4, res3, pixel embedding on res2.

    No code of RT-M2F was released. The GFLOPs that its papers print fit `fused=True, embedding=none` (both
    inferred: fused branches, no 3x3 output convolution).

    Args:
        features: res2..res5.
        fused: RepVGG blocks as one convolution each: what is deployed. To train, train without and call `fuse`.
        dim: channels of all maps; a multiple of 32, of 4 and of `heads`.
        mask_dim, embedding: as in `mask2former`.
        heads, ffn_dim: of the attention layer.
        position: `released` flattens the positions column by column although tokens go row by row, as RT-DETR's
            code does; `aligned` gives each token its own.

    Raises:
        SettingError: a value outside what is said above.

    Source: RT-DETR (Zhao et al. 2024), section 4.2; names of lyuwenyu/RT-DETR 068dfde (hybrid_encoder.py, Apache-2.0),
    whose levels run fine to coarse.
    """

    def __init__(
        self,
        features: Features,
        *,
        fused: bool = False,
        dim: int = 256,
        mask_dim: int = 256,
        embedding: str = "conv",
        heads: int = 8,
        ffn_dim: int = 1024,
        position: str = "released",
    ) -> None:
        super().__init__(features, dim, mask_dim, embedding)
        multiple("dim", dim, positive("heads", heads), "heads")
        flag("fused", fused)
        self.position = choice("position", position, POSITIONS)
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(self.specs[name].channels, dim, 1, bias=False), nn.BatchNorm2d(dim))
            for name in reversed(COARSE_TO_FINE)
        )
        self.encoder = nn.ModuleList([AttentionStack(AttentionLayer(dim, heads, positive("ffn_dim", ffn_dim)))])
        self.lateral_convs = nn.ModuleList(ConvBatchNorm(dim, dim, 1) for _ in range(2))
        self.fpn_blocks = nn.ModuleList(CrossStageBlock(2 * dim, dim, fused) for _ in range(2))
        self.downsample_convs = nn.ModuleList(ConvBatchNorm(dim, dim, 3, stride=2) for _ in range(2))
        self.pan_blocks = nn.ModuleList(CrossStageBlock(2 * dim, dim, fused) for _ in range(2))

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        fine_to_coarse = reversed(COARSE_TO_FINE)
        fine, middle, coarse = (p(features[name]) for p, name in zip(self.input_proj, fine_to_coarse, strict=True))
        coarse = self.lateral_convs[0](self._attended(coarse))
        middle = self.lateral_convs[1](self.fpn_blocks[0](_beside(coarse, middle)))
        fine = self.fpn_blocks[1](_beside(middle, fine))
        middle = self.pan_blocks[0](torch.cat((self.downsample_convs[0](fine), middle), dim=1))
        coarse = self.pan_blocks[1](torch.cat((self.downsample_convs[1](middle), coarse), dim=1))
        return EncoderOutput(self.embed(features["res2"], fine), (coarse, middle, fine))

    def _attended(self, coarse: Tensor) -> Tensor:
        shape = (coarse.shape[2], coarse.shape[3])
        position = sincos_position(*shape, self.dim, coarse.device, self.position).to(coarse.dtype)
        return self.encoder[0](coarse.flatten(2).transpose(1, 2), position).transpose(1, 2).unflatten(2, shape)


def _beside(coarse: Tensor, fine: Tensor) -> Tensor:
    return torch.cat((F.interpolate(coarse, size=fine.shape[-2:], mode="nearest"), fine), dim=1)


def sincos_position(
    height: int, width: int, dim: int, device: torch.device, order: str = "released", temperature: float = 10000.0
) -> Tensor:
    """Two-dimensional sine-cosine position of every token (H*W, dim) in float32.

    Channels are sin x, cos x, sin y, cos y of integer coordinates from 0, a quarter of `dim` each.
    """
    quarter = dim // 4
    frequency = temperature ** -(torch.arange(quarter, dtype=torch.float32, device=device) / quarter)
    x = torch.arange(width, dtype=torch.float32, device=device)[:, None] * frequency  # (W, C/4)
    y = torch.arange(height, dtype=torch.float32, device=device)[:, None] * frequency
    if order == "released":  # row w * H + h
        x, y = x[:, None].expand(-1, height, -1), y[None].expand(width, -1, -1)
    else:
        x, y = x[None].expand(height, -1, -1), y[:, None].expand(-1, width, -1)
    return torch.cat((x.sin(), x.cos(), y.sin(), y.cos()), dim=2).flatten(0, 1)


def fuse(encoder: RTEncoder) -> RTEncoder:
    """A copy in evaluation mode whose RepVGG blocks are fused: the same outputs, its state that of `fused=True`."""
    fused = copy.deepcopy(encoder).eval()
    for module in fused.modules():
        if isinstance(module, RepVggBlock):
            module.fuse()
    return fused

"""The deformable transformer layer that Mask2Former, Lite-DETR and PRO-SCALE encoders are made of.

Names and initialisation are those of Mask2Former's released MSDeformAttnPixelDecoder. Tokens of several maps
stand one map after another, coarse to fine (res5, res4, res3), each row-major.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import SettingError, multiple, positive
from effbench.encoders.layers import added, group_norm, sine_position
from effbench.kernels.ms_deform_attn import check_name, ms_deform_attn_fused, resolve_implementation

Shapes = Sequence[tuple[int, int]]

COARSE_TO_FINE = ("res5", "res4", "res3")


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention with its four projections (Deformable DETR, section 4.1)."""

    def __init__(self, dim: int, levels: int, heads: int, points: int, impl: str) -> None:
        super().__init__()
        self.heads, self.levels, self.points, self.impl = heads, levels, points, impl
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)

    def resolved_implementation(self) -> dict[str, str]:
        """Which implementation of the operator serves values of this module's device and dtype."""
        value = self.value_proj.weight.view(1, -1, self.heads, self.value_proj.out_features // self.heads)
        return {"ms_deform_attn": resolve_implementation(self.impl, value)}

    def reset_parameters(self) -> None:
        """Heads look in evenly spread directions, point k at k+1 pixels; attention starts uniform."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)  # (M, 2)
        distance = torch.arange(1, self.points + 1, dtype=torch.float32)[None, None, :, None]
        offsets = (direction[:, None, None] * distance).expand(-1, self.levels, -1, -1)  # (M, L, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.reshape(-1))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, tokens: Tensor, shapes: Shapes) -> Tensor:
        """query (B, Q, C), reference points (Q, 2) as (x, y) in [0, 1], tokens (B, S, C) of `shapes`: (B, Q, C)."""
        B, Q, C = query.shape
        M, L, P = self.heads, self.levels, self.points
        value = self.value_proj(tokens).view(B, tokens.shape[1], M, C // M)
        offsets = self.sampling_offsets(query).view(B, Q, M, L, P, 2)  # pixels of each level
        logits = self.attention_weights(query).view(B, Q, M, L, P)
        return self.output_proj(ms_deform_attn_fused(value, shapes, offsets, logits, reference, impl=self.impl))


class DeformableLayer(nn.Module):
    """Deformable attention and feed-forward, each with residual and LayerNorm after it (post-norm, ReLU)."""

    def __init__(self, dim: int, levels: int, heads: int, points: int, ffn_dim: int, impl: str) -> None:
        super().__init__()
        self.self_attn = MSDeformAttn(dim, levels, heads, points, impl)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, position: Tensor | None, reference: Tensor, shapes: Shapes, tokens: Tensor | None = None
    ) -> Tensor:
        """x (B, Q, C), position (Q, C) or None, reference points (Q, 2): x after this layer (B, Q, C).

        `tokens` (B, S, C) of `shapes` is what x looks at; None means x itself.
        """
        query = x if position is None else x + position
        attended = self.self_attn(query, reference, x if tokens is None else tokens, shapes)
        x = self.norm1(added(attended, x))
        return self.norm2(added(self.linear2(F.relu(self.linear1(x), inplace=True)), x))


def layer_copies(layer: DeformableLayer, count: int) -> list[DeformableLayer]:
    """`count` layers with weights of their own; as released, their linear biases start equal."""
    return [copy.deepcopy(layer) for _ in range(count)]


def check_deformable(dim: int, heads: int, points: int, ffn_dim: int, impl: str) -> None:
    """Raise SettingError for settings that no deformable encoder can be built with."""
    multiple("dim", dim, positive("heads", heads), "heads")
    positive("points", points)
    positive("ffn_dim", ffn_dim)
    try:
        check_name(impl)  # whether it can run is seen on the device where the encoder goes
    except ValueError as error:
        raise SettingError(str(error)) from None


def reset_transformer(transformer: nn.Module) -> None:
    """Initialise as released: Xavier on every matrix, then the deformable attentions their own way."""
    for parameter in transformer.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for module in transformer.modules():
        if isinstance(module, MSDeformAttn):
            module.reset_parameters()
    nn.init.normal_(transformer.get_parameter("level_embed"))


def input_projection(channels: int, dim: int) -> nn.Sequential:
    """1x1 convolution with bias and GroupNorm: a backbone map into the encoder's width."""
    convolution = nn.Conv2d(channels, dim, 1)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution, group_norm(dim))


def flatten(maps: Sequence[Tensor]) -> list[Tensor]:
    """Each (B, C, H, W) as tokens (B, H*W, C)."""
    return [x.flatten(2).transpose(1, 2) for x in maps]


def unflatten(tokens: Tensor, shapes: Shapes) -> list[Tensor]:
    """Tokens (B, S, C) of `shapes` back to maps (B, C, H, W), channels last, without a copy."""
    parts = tokens.split([height * width for height, width in shapes], dim=1)
    # In this order the strides of a single image are those of a channels-last map too, which kernels go by.
    return [part.unflatten(1, shape).permute(0, 3, 1, 2) for part, shape in zip(parts, shapes, strict=True)]


def positions(shapes: Shapes, level_embed: Tensor) -> Tensor:
    """Sine position plus the level's embedding for every token: (S, C) in level_embed's dtype."""
    dim = level_embed.shape[1]
    return torch.cat(
        [
            sine_position(height, width, dim, level_embed.device).flatten(1).T.to(level_embed.dtype) + embed
            for (height, width), embed in zip(shapes, level_embed, strict=True)
        ]
    )


def reference_points(shapes: Shapes, like: Tensor) -> Tensor:
    """The centre of every token as (x, y) in [0, 1]: (S, 2), the same for all levels it looks at.

    In `like`'s dtype, but at least in float32: 16 bits cannot name a pixel of a wide map.
    """
    points = []
    dtype = like.dtype if like.dtype.itemsize >= 4 else torch.float32
    for height, width in shapes:
        y = (torch.arange(height, dtype=dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=dtype, device=like.device) + 0.5) / width
        points.append(torch.stack((x.expand(height, width), y[:, None].expand(height, width)), dim=-1).flatten(0, 1))
    return torch.cat(points)

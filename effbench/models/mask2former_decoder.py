"""Mask2Former's transformer decoder with masked attention; names and initialisation of its release.

Vocabulary: B batch, C channels, Q queries, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import EncoderOutput, multiple, positive
from effbench.encoders.layers import fan_in_uniform, sine_position


@dataclass(frozen=True)
class Prediction:
    """What one prediction head says.

    Attributes:
        logits: (B, Q, K+1); the last class is "no object".
        masks: (B, Q, H/4, W/4) logits.
    """

    logits: Tensor
    masks: Tensor


class SelfAttentionLayer(nn.Module):
    """Self-attention over the queries, residual, LayerNorm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x, position (B, Q, C)."""
        q = x + position
        return self.norm(x + self.self_attn(q, q, x, need_weights=False)[0])


class CrossAttentionLayer(nn.Module):
    """Masked cross-attention from queries to one scale, residual, LayerNorm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor, source: Tensor, source_position: Tensor, blocked: Tensor) -> Tensor:
        """x, position (B, Q, C), source (B, S, C), source_position (S, C), blocked (B*heads, Q, S) bool."""
        attended = self.multihead_attn(
            x + position, source + source_position, source, attn_mask=blocked, need_weights=False
        )
        return self.norm(x + attended[0])


class FeedForwardLayer(nn.Module):
    """Two linear layers with ReLU, residual, LayerNorm."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, Q, C)."""
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class MaskEmbedding(nn.Module):
    """Three linear layers with ReLU between: a query into the space of the mask features."""

    def __init__(self, dim: int, mask_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, mask_dim)])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, Q, C) to (B, Q, mask_dim)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Mask2FormerDecoder(nn.Module):
    """Queries that attend, scale after scale, only where their own last mask says.

    Args:
        in_dim: channels of the encoder's maps.
        mask_dim: channels of its mask features.
        num_classes: K, without "no object".
        num_queries: Q.
        layers: cross-attention layers (9 in the paper: 10 predictions, the initial one included).
        dim, heads, ffn_dim: width of the decoder.

    Raises:
        SettingError: a number below 1, or `dim` not divisible by `heads`.

    Source: Mask2Former (Cheng et al. 2022), section 3.2; facebookresearch/Mask2Former 9b0651c (MIT).
    """

    def __init__(
        self,
        in_dim: int,
        mask_dim: int,
        num_classes: int,
        num_queries: int = 100,
        layers: int = 9,
        dim: int = 256,
        heads: int = 8,
        ffn_dim: int = 2048,
    ) -> None:
        super().__init__()
        multiple("decoder dim", dim, positive("decoder heads", heads), "heads")
        positive("decoder layers", layers)
        positive("decoder ffn_dim", ffn_dim)
        positive("num_classes", num_classes)
        positive("num_queries", num_queries)
        self.heads = heads
        self.input_proj = nn.ModuleList(nn.Identity() if in_dim == dim else nn.Conv2d(in_dim, dim, 1) for _ in range(3))
        self.query_feat = nn.Embedding(num_queries, dim)
        self.query_embed = nn.Embedding(num_queries, dim)
        self.level_embed = nn.Embedding(3, dim)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in range(layers))
        self.transformer_self_attention_layers = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(FeedForwardLayer(dim, ffn_dim) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(dim)
        self.class_embed = nn.Linear(dim, num_classes + 1)
        self.mask_embed = MaskEmbedding(dim, mask_dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for layer in itertools.chain(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
        ):
            for parameter in layer.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for projection in self.input_proj:
            if isinstance(projection, nn.Conv2d):
                fan_in_uniform(projection)

    def forward(self, encoded: EncoderOutput) -> list[Prediction]:
        """One prediction before the first layer and one after each; the last is the model's answer."""
        sizes = [x.shape[-2:] for x in encoded.multi_scale]
        sources, positions = self._sources(encoded.multi_scale)
        batch = encoded.mask_features.shape[0]
        x = self.query_feat.weight.expand(batch, -1, -1)
        query_position = self.query_embed.weight.expand(batch, -1, -1)
        predictions = [self._predict(x, encoded.mask_features)]
        for i, (cross, itself, feed_forward) in enumerate(
            zip(
                self.transformer_cross_attention_layers,
                self.transformer_self_attention_layers,
                self.transformer_ffn_layers,
                strict=True,
            )
        ):
            scale = i % 3
            blocked = self._blocked(predictions[-1].masks, sizes[scale])
            x = cross(x, query_position, sources[scale], positions[scale], blocked)
            x = feed_forward(itself(x, query_position))
            predictions.append(self._predict(x, encoded.mask_features))
        return predictions

    def _sources(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        # Contiguous tokens: the attention's projections of a transposed map would be one small product for each token.
        sources, positions = [], []
        for projection, x, level in zip(self.input_proj, maps, self.level_embed.weight, strict=True):
            sources.append(projection(x).flatten(2).transpose(1, 2).contiguous() + level)  # (B, S, C)
            position = sine_position(x.shape[2], x.shape[3], level.shape[0], x.device)
            positions.append(position.flatten(1).T.contiguous().to(x.dtype))  # (S, C)
        return sources, positions

    def _predict(self, x: Tensor, mask_features: Tensor) -> Prediction:
        x = self.decoder_norm(x)
        masks = torch.einsum("bqc,bchw->bqhw", self.mask_embed(x), mask_features)
        return Prediction(self.class_embed(x), masks)

    def _blocked(self, masks: Tensor, size: torch.Size) -> Tensor:
        """Where a query may not look: (B*heads, Q, h*w); a query that may look nowhere looks everywhere."""
        resized = F.interpolate(masks.detach(), size=size, mode="bilinear", align_corners=False).flatten(2)
        blocked = resized.sigmoid() < 0.5
        blocked = blocked & ~blocked.all(dim=-1, keepdim=True)
        return blocked.repeat_interleave(self.heads, dim=0)

"""Lite-DETR's interleaved encoder on Mask2Former's scales: the many fine tokens are updated once, at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from effbench.encoders.deformable import Shapes
from effbench.encoders.mask2former import LayerStack, Mask2FormerEncoder
from effbench.encoders.registry import register


class InterleavedStack(LayerStack):
    """Layers that update the coarse tokens alone, looking at all, and a last one that updates all."""

    def forward(self, tokens: Sequence[Tensor], position: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """tokens per level (B, S_l, C), position (S, C), reference (S, 2): all tokens (B, S, C)."""
        *coarse, fine = tokens
        high = torch.cat(coarse, dim=1)
        length = high.shape[1]
        *interleaved, last = self.layers
        for layer in interleaved:
            everything = torch.cat((high, fine), dim=1)
            high = layer(high, position[:length], reference[:length], shapes, tokens=everything)
        return last(torch.cat((high, fine), dim=1), position, reference, shapes)


@register("lite")
class LiteEncoder(Mask2FormerEncoder):
    """Lite-DETR's H3L1 encoder as the papers' Lite-M2F: `layers` - 1 over res5 and res4, then one over all.

    One block, one feed-forward width everywhere, no key-aware attention: that is what the papers' GFLOPs count.
    No weights were released, so the names are those of `mask2former`.

    Args:
        features: res2..res5.
        layers: all layers; 6 is (5 + 1), and the last one always updates all tokens.
        dim, mask_dim, embedding, res2, heads, points, ffn_dim, impl: as in `mask2former`.

    Raises:
        SettingError: a value outside what is said above.

    Source: Lite-DETR (Li et al. 2023), section 4.2; IDEA-Research/Lite-DETR, models/dino/deformable_transformer.py.
    """

    stack_type = InterleavedStack

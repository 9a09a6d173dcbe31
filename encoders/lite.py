"""Lite-DETR's interleaved encoder on Mask2Former's scales: the many fine tokens are updated once, at the end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from effbench.encoders.mask2former import Mask2FormerEncoder
from effbench.encoders.registry import register
from effbench.encoders.stack import Place, Stack, State


class InterleavedStack(Stack):
    """Layers that update the coarse tokens alone, looking at all, and a last one that updates all.

    The last layer ends every path: an image that leaves after some of the others takes it, too.
    """

    @property
    def depth(self) -> int:
        """Steps before the last layer."""
        return len(self.layers) - 1

    def begin(self, tokens: Sequence[Tensor], place: Place) -> State:
        *coarse, fine = tokens
        return torch.cat(coarse, dim=1), fine

    def step(self, number: int, state: State, place: Place) -> State:
        high, fine = state
        everything = torch.cat((high, fine), dim=1)
        return self.layers[number - 1](high, *place.first(high.shape[1]), tokens=everything), fine

    def finish(self, state: State, place: Place) -> Tensor:
        tokens: Tensor = self.layers[-1](torch.cat(state, dim=1), *place)
        return tokens


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

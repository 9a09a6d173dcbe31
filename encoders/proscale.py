"""PRO-SCALE: tokens enter scale by scale, so that the early layers work on few of them.

Stage 1 sees res5 alone, stage 2 adds res4, stage 3 adds res3; token recalibration (TRC) scales the coarse tokens
by what the fine ones say before they enter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.encoders.contract import Features, SettingError, choice, finite, flag
from effbench.encoders.deformable import DeformableLayer, check_deformable, layer_copies
from effbench.encoders.mask2former import DeformablePixelDecoder
from effbench.encoders.registry import register
from effbench.encoders.stack import Place, Stack, State

RECALIBRATIONS = ("released", "released_conv", "transposed", "off")


class TokenRecalibration(nn.Module):
    """One gate in (0, 1) per coarse token, computed from the fine map resized to its scale.

    The released code reads its (B, H*W, C) token memory as (B, C, H, W) without transposing, so a gate sees a
    mixture of neighbouring tokens and channels; `released` and `released_conv` keep that, because released
    weights were trained with it. `transposed` resizes the map as the paper describes.

    Source: PRO-SCALE, section 3.1.2; abhishekaich27/proscale-pytorch 2e9cf4c (class TRC).
    """

    def __init__(self, dim: int, kind: str, temperature: float) -> None:
        super().__init__()
        self.kind, self.temperature = kind, temperature
        self.ops: nn.Module = nn.Conv2d(dim, 1, 1) if kind == "released_conv" else nn.Linear(dim, 1)

    def forward(
        self, tokens: Tensor, context: Tensor, shape: tuple[int, int], context_shape: tuple[int, int]
    ) -> Tensor:
        """tokens (B, H*W, C) of `shape`, context (B, H'*W', C) of `context_shape`: gated tokens (B, H*W, C)."""
        B, length, C = tokens.shape
        if self.kind == "transposed":
            maps = context.transpose(1, 2).unflatten(2, context_shape)
        else:
            maps = context.reshape(B, C, *context_shape)
        resized = F.interpolate(maps, size=shape, mode="bilinear", align_corners=False)
        if self.kind == "released_conv":
            gate = torch.sigmoid(self.temperature * self.ops(resized))  # (B, 1, H, W)
            return (tokens.reshape(B, C, *shape) * gate).view(B, length, C)
        resized = resized.flatten(2).transpose(1, 2) if self.kind == "transposed" else resized.reshape(B, length, C)
        return tokens * torch.sigmoid(self.temperature * self.ops(resized))


class ProgressiveStack(Stack):
    """Three stages over one, two and three scales, each with layers of its own.

    An image that leaves before a scale has entered takes that scale's tokens as they would have entered.
    """

    def __init__(
        self, stages: Sequence[Sequence[DeformableLayer]], recalibration: nn.Module | None, residual: bool
    ) -> None:
        super().__init__([layer for stage in stages for layer in stage])
        self.stage_of = [number for number, stage in enumerate(stages, start=1) for _ in stage]
        self.residual = residual
        if recalibration is not None:
            self.token_excite = recalibration

    @property
    def default_exits(self) -> tuple[int, ...]:
        """The ends of the first two stages, whose layers cost little, and every layer of the last one."""
        before = sum(stage < 3 for stage in self.stage_of)
        ends = (sum(stage <= 1 for stage in self.stage_of), before, *range(before + 1, self.depth + 1))
        return tuple(sorted({end for end in ends if end}))

    def begin(self, tokens: Sequence[Tensor], place: Place) -> State:
        coarse, middle, fine = tokens
        shapes = place.shapes
        entering = (
            self._recalibrated(coarse, fine, shapes[0], shapes[2]),
            self._recalibrated(middle, fine, shapes[1], shapes[2]),
            fine,
        )
        return entering[0][:, :0], *entering

    def step(self, number: int, state: State, place: Place) -> State:
        stage = self.stage_of[number - 1]
        x = _entered(state, stage)
        x = self.layers[number - 1](x, *place.first(x.shape[1], stage))
        if self.residual and stage < 3:
            x = x + torch.cat(state[1 : 1 + stage], dim=1)
        return x, *state[1:]

    def finish(self, state: State, place: Place) -> Tensor:
        return _entered(state, 3)

    def _recalibrated(
        self, tokens: Tensor, fine: Tensor, shape: tuple[int, int], fine_shape: tuple[int, int]
    ) -> Tensor:
        excite = getattr(self, "token_excite", None)
        return tokens if excite is None else excite(tokens, fine, shape, fine_shape)


def _entered(state: State, stage: int) -> Tensor:
    """The tokens that layers have worked on, and those of the scales that enter up to `stage`."""
    x, *entering = state
    lengths = [tokens.shape[1] for tokens in entering]
    known = next(n for n in range(4) if sum(lengths[:n]) == x.shape[1])
    return torch.cat((x, *entering[known:stage]), dim=1) if known < stage else x


@register("proscale")
class ProScaleEncoder(DeformablePixelDecoder):
    """PRO-SCALE with `p` layers in its three stages.

    Args:
        features: res2..res5.
        p: layers over res5; over res5 and res4; over all three. Zero skips a stage, but one must have a layer.
        recalibration: `released` (linear, memory reinterpreted as the released code does), `released_conv` (its
            1x1-convolution form), `transposed` (spatially right), `off`.
        temperature: factor inside the recalibration's sigmoid; 0.1 in the released configurations.
        residual: add a stage's input after each of its layers (stages 1 and 2); off in the released configurations.
        dim, mask_dim, embedding, heads, points, ffn_dim, impl: as in `mask2former`; max_pool is the paper's LPE.

    Raises:
        SettingError: a value outside what is said above.

    Source: PRO-SCALE (Aich et al. 2025), section 3; names of abhishekaich27/proscale-pytorch 2e9cf4c.
    """

    def __init__(
        self,
        features: Features,
        *,
        p: tuple[int, int, int] = (3, 3, 3),
        dim: int = 256,
        mask_dim: int = 256,
        embedding: str = "max_pool",
        recalibration: str = "released",
        temperature: float = 0.1,
        residual: bool = False,
        heads: int = 8,
        points: int = 4,
        ffn_dim: int = 1024,
        impl: str = "auto",
    ) -> None:
        check_deformable(dim, heads, points, ffn_dim, impl)
        stages = [
            layer_copies(DeformableLayer(dim, levels, heads, points, ffn_dim, impl), depth)
            for levels, depth in enumerate(_check_p(p), start=1)
        ]
        choice("recalibration", recalibration, RECALIBRATIONS)
        finite("temperature", temperature)
        excite = None if recalibration == "off" else TokenRecalibration(dim, recalibration, temperature)
        super().__init__(
            features, dim, mask_dim, embedding, ProgressiveStack(stages, excite, flag("residual", residual))
        )


def _check_p(p: Sequence[int]) -> tuple[int, int, int]:
    depths = tuple(p) if isinstance(p, Sequence) else ()
    if len(depths) != 3 or any(not isinstance(d, int) or d < 0 for d in depths) or sum(depths) == 0:
        raise SettingError(f"p={p!r}, expected three layer counts of at least 0, not all 0, such as p=(3,3,3)")
    return depths[0], depths[1], depths[2]

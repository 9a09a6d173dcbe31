"""ECO-M2F: each image leaves a layered encoder after as many layers as a gate, or the caller, says."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from effbench.encoders.contract import EarlyExit, EncoderOutput, Features, SettingError, positive
from effbench.encoders.mask2former import DeformablePixelDecoder
from effbench.encoders.registry import encoder_class, register, registered


class Gate(nn.Module):
    """One linear layer on the mean token of the coarsest projected map: a logit for every exit."""

    def __init__(self, dim: int, exits: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, exits)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """pooled (B, C) to logits (B, exits)."""
        logits: Tensor = self.head(pooled)
        return logits


@register("early_exit")
class EarlyExitEncoder(EarlyExit):
    """A layered encoder that an image may leave early, with a gate that chooses where.

    A batch of mixed exits shrinks as images leave: each image passes through the layers that it would alone, and
    through no other. For that the host reads the gate's choice once.

    Args:
        features: res2..res5.
        base: the encoder whose layers are left: one of mask2former, lite, proscale, or another that is built as they
            are.
        exits: layers after which an image may leave, ascending; () for the base's own. mask2former: 2 to 6. lite: 2 to
            5, each followed by its last layer, which updates all tokens. proscale: the ends of its first two stages,
            whose layers cost little, and every layer of the third.
        k: leave exits above this layer out (the paper's K); 0 for none.
        settings: those of the base.

    Attributes:
        exits: the layers after which an image may leave.

    Raises:
        SettingError: a value outside what is said above.

    Source: ECO-M2F (Yao et al. 2024), section 3; the gate's names are those of the release.
    """

    def __init__(
        self,
        features: Features,
        *,
        base: str = "mask2former",
        exits: tuple[int, ...] = (),
        k: int = 0,
        **settings: Any,
    ) -> None:
        built = _layered(base)(features, **settings)
        super().__init__(features, built.dim, built.mask_dim)
        # Under the base's own names, so that its weights load; a list, so that it is no module of its own.
        self._base = [built]
        for name, child in built.named_children():
            self.add_module(name, child)
        stack = built.transformer.encoder
        self.exits = _checked(stack.default_exits if exits == () else exits, stack.depth, k, base)
        stack.gt = Gate(built.dim, len(self.exits))
        self.choices: Tensor
        self.register_buffer("choices", torch.tensor(self.exits), persistent=False)

    @classmethod
    def setting_defaults(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Its own settings and those of the base that `settings` name."""
        own = super().setting_defaults(settings)
        return {**own, **_layered(settings.get("base", own["base"])).setting_defaults(settings)}

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> list[str]:
        """Its own, and the base's, which it finds by name."""
        base = settings.get("base", cls.setting_defaults(settings)["base"])
        return [cls.__module__, _layered(base).__module__]

    def forward(self, features: Mapping[str, Tensor], exit: int | Tensor | None = None) -> EncoderOutput:
        base = self.base
        maps = base.project(features)
        exits, depths = self.decide(_pooled(maps[0])) if exit is None else self._asked(exit, maps[0])
        coarse, middle, fine = base.transformer(maps, exits, depths)
        return EncoderOutput(base.embed(features["res2"], fine), (coarse, middle, fine), exits)

    def every_exit(self, features: Mapping[str, Tensor]) -> list[EncoderOutput]:
        base = self.base
        outputs = []
        for layer, (coarse, middle, fine) in zip(
            self.exits, base.transformer.every_exit(base.project(features), self.exits), strict=True
        ):
            left = torch.full((coarse.shape[0],), layer, device=coarse.device)
            outputs.append(EncoderOutput(base.embed(features["res2"], fine), (coarse, middle, fine), left))
        return outputs

    def at_size(self, height: int, width: int) -> EarlyExitEncoder:
        copied = copy.deepcopy(self).eval().requires_grad_(False)
        copied.base.transformer.fix(height, width)
        return copied

    def pooled(self, features: Mapping[str, Tensor]) -> Tensor:
        """The mean token of projected res5 (B, dim), without position."""
        return _pooled(self.base.input_proj[0](features["res5"]))

    def decide(self, pooled: Tensor) -> tuple[Tensor, list[int]]:
        exits = self.choices[self._gate(pooled).argmax(-1)]
        return exits, exits.tolist()  # once for the whole batch

    @property
    def gate(self) -> nn.Linear:
        return self._gate.head

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.base.transformer.encoder.layers)

    @property
    def base(self) -> DeformablePixelDecoder:
        """The encoder whose layers are left."""
        return self._base[0]

    @property
    def _gate(self) -> Gate:
        gate = self.base.transformer.encoder.gt
        assert isinstance(gate, Gate)
        return gate

    def _asked(self, exit: int | Tensor, coarse: Tensor) -> tuple[Tensor, list[int]]:
        """The exits that the caller asks for, on the device and on the host."""
        batch = coarse.shape[0]
        if isinstance(exit, Tensor):
            if exit.shape != (batch,) or exit.is_floating_point():
                raise ValueError(f"exit of shape {tuple(exit.shape)} and {exit.dtype}; expected ({batch},) integers")
            depths = exit.tolist()
            self._check(depths)
            return exit.to(coarse.device), depths
        if not isinstance(exit, int):
            raise ValueError(f"exit={exit!r}; expected a layer, one for each image, or None")
        self._check([exit])
        return torch.full((batch,), exit, device=coarse.device), [exit] * batch

    def _check(self, asked: Sequence[int]) -> None:
        unknown = sorted(set(asked) - set(self.exits))
        if unknown:
            raise ValueError(f"exit {', '.join(map(str, unknown))}; expected one of {', '.join(map(str, self.exits))}")


def _pooled(coarse: Tensor) -> Tensor:
    return coarse.flatten(2).mean(-1)


def _layered(name: str) -> type[DeformablePixelDecoder]:
    """The class of encoder `name`; SettingError where it has no layers that could be left."""
    try:
        cls = encoder_class(name)
    except SettingError as error:
        raise SettingError(f"base={name!r}: {error}") from None
    if not issubclass(cls, DeformablePixelDecoder):
        able = [known for known, other in registered().items() if issubclass(other, DeformablePixelDecoder)]
        raise SettingError(f"base={name!r} has no layers that could be left; expected one of {', '.join(able)}")
    return cls


def _checked(exits: tuple[int, ...], depth: int, k: int, base: str) -> tuple[int, ...]:
    whole = isinstance(exits, tuple) and all(isinstance(x, int) and 1 <= x <= depth for x in exits)
    if not whole or not exits or list(exits) != sorted(set(exits)):
        raise SettingError(f"exits={exits!r} of {base}, expected a tuple of ascending layers from 1 to {depth}")
    if positive("k", k, least=0) and not exits[0] <= k <= depth:
        raise SettingError(f"k={k!r}, expected a layer from the first exit {exits[0]} to {depth}, or 0 for all")
    return tuple(layer for layer in exits if not k or layer <= k)

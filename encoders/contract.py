"""What every encoder promises: what it is built from, what it is called with and what it returns.

Encoders know nothing of timing, files or the command line; the harness knows no encoder by name. This file is
all that the two sides share.
"""

from __future__ import annotations

import abc
import difflib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


class SettingError(ValueError):
    """A setting that an encoder cannot be built with: names the setting, what it got and what it allows."""


class FeatureSpec(NamedTuple):
    """One map of the backbone's pyramid."""

    channels: int
    stride: int
    """Pixels of the image per pixel of the map."""


Features = Mapping[str, FeatureSpec]
"""name -> FeatureSpec; the four names are res2, res3, res4, res5 at strides 4, 8, 16, 32."""

LEVELS = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


@dataclass(frozen=True)
class EncoderOutput:
    """What the decoder reads.

    Attributes:
        mask_features: (B, mask_dim, H/4, W/4).
        multi_scale: three maps (B, dim, h, w) at strides 32, 16, 8: coarse to fine.
        exit: (B,) int, the layer after which each image left the encoder, or None where there is no early exit.
    """

    mask_features: Tensor
    multi_scale: tuple[Tensor, Tensor, Tensor]
    exit: Tensor | None = None


class Encoder(nn.Module, abc.ABC):
    """Backbone pyramid in, mask features and three scales out.

    The maps are looked up by name, never by order. Output dtype is input dtype; forward keeps no state; any
    H, W whose maps the backbone can produce (the segmenter pads the image to the stride).
    """

    def __init__(self, features: Features, dim: int, mask_dim: int) -> None:
        super().__init__()
        self.specs = check_features(features)
        self.dim = positive("dim", dim)
        self.mask_dim = positive("mask_dim", mask_dim)

    @classmethod
    def setting_defaults(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Setting -> default, in the order of the signature.

        `settings` are those that were chosen, for an encoder that takes others' settings because of one of its own.
        """
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    @classmethod
    def source_modules(cls, settings: Mapping[str, Any]) -> list[str]:
        """The modules, besides what they import, whose sources decide what it computes: a record knows it by them."""
        return [cls.__module__]

    @abc.abstractmethod
    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""

    def at_size(self, height: int, width: int) -> Encoder:
        """A copy for inference on images of height x width alone, padding included: the same outputs but for rounding.

        What depends on that size and on the weights, such as positions after a projection, it has computed before. At
        another size it raises ValueError. Its state dict is not that of the encoder. Cast and move the encoder before.

        Raises SettingError where nothing can be computed before, or has been already.
        """
        raise SettingError(f"{type(self).__name__} has no form for one size; expected an encoder with `at_size`")

    def implementation(self) -> dict[str, str]:
        """Which implementation each operator with a choice runs on the device of the parameters (for records)."""
        chosen: dict[str, str] = {}
        for module in self.modules():
            resolve = getattr(module, "resolved_implementation", None)
            if resolve is not None:
                chosen.update(resolve())
        return chosen


class EarlyExit(Encoder):
    """An encoder that an image may leave early; a gate, or the caller, says where.

    Attributes:
        exits: the layers after which an image may leave, ascending.
    """

    exits: tuple[int, ...]

    @abc.abstractmethod
    def forward(self, features: Mapping[str, Tensor], exit: int | Tensor | None = None) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s).

        `exit`: a layer for all images, one for each (B,) int, or None to let the gate decide. Raises ValueError for
        one that is not among `exits`.
        """

    @abc.abstractmethod
    def every_exit(self, features: Mapping[str, Tensor]) -> list[EncoderOutput]:
        """What each of `exits` gives for the whole batch; what they share runs once."""

    @abc.abstractmethod
    def pooled(self, features: Mapping[str, Tensor]) -> Tensor:
        """What the gate sees of each image (B, dim)."""

    @abc.abstractmethod
    def decide(self, pooled: Tensor) -> tuple[Tensor, list[int]]:
        """The gate's exit of every image for `pooled` (B, dim): (B,) on the device, and on the host."""

    @property
    @abc.abstractmethod
    def gate(self) -> nn.Linear:
        """The gate: a logit for every exit from what `pooled` gives."""

    @property
    @abc.abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """The modules that an image passes through, one after another, until it leaves."""


def exits_of(encoder: nn.Module) -> tuple[int, ...]:
    """The layers after which an encoder may stop; () where it has no early exit."""
    return tuple(getattr(encoder, "exits", None) or ())


def did_you_mean(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> str:
    """ "did you mean a or b? " for an error message, or "" when nothing known is near `name`."""
    near = difflib.get_close_matches(name, list(known), most, cutoff)
    return f"did you mean {' or '.join(near)}? " if near else ""


def check_features(features: Features) -> dict[str, FeatureSpec]:
    """The specs of res2..res5 with their strides checked; raises SettingError naming what is missing or off."""
    specs = {}
    for name, spec in features.items():
        if not isinstance(spec, tuple) or len(spec) != 2:
            raise SettingError(f"features[{name!r}]={spec!r}, expected (channels, stride)")
        channels = positive(f"channels of features[{name!r}]", spec[0])
        specs[name] = FeatureSpec(channels, positive(f"stride of features[{name!r}]", spec[1]))
    missing = [name for name in LEVELS if name not in specs]
    if missing:
        raise SettingError(f"features has {sorted(specs)}, expected {list(LEVELS)}: {', '.join(missing)} missing")
    for name, stride in LEVELS.items():
        if specs[name].stride != stride:
            raise SettingError(f"features[{name!r}] has stride {specs[name].stride}, expected {stride}")
    return {name: specs[name] for name in LEVELS}


def positive(name: str, value: int, least: int = 1) -> int:
    """`value` if it is an int of at least `least`, else SettingError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingError(f"{name}={value!r}, expected an integer of at least {least}")
    return value


def multiple(name: str, value: int, of: int, why: str) -> int:
    """`value` if it is a positive multiple of `of`, else SettingError; `why` says where the divisor comes from."""
    if positive(name, value) % of:
        raise SettingError(f"{name}={value!r} is not divisible by {why}={of}; expected a multiple of {of}")
    return value


def flag(name: str, value: bool) -> bool:
    """`value` if it is True or False, else SettingError."""
    if not isinstance(value, bool):
        raise SettingError(f"{name}={value!r}, expected True or False")
    return value


def finite(name: str, value: float) -> float:
    """`value` if it is a finite number, else SettingError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SettingError(f"{name}={value!r}, expected a finite number")
    return float(value)


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`, else SettingError."""
    if value not in allowed:
        raise SettingError(f"{name}={value!r}, expected one of {', '.join(allowed)}")
    return value

"""The encoder under examination: where it is found, how it is built and called so that one call cannot touch the next.

Every call is made on a copy and from a fixed seed, so that a check blames an encoder for its own promise alone: kept
state is found where state is looked for, randomness where determinism is.
"""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effbench.encoders.contract import Encoder, EncoderOutput, Features, FeatureSpec, did_you_mean, exits_of
from effbench.encoders.registry import encoder_class
from effbench.errors import InputError
from effbench.models.backbones import build_backbone
from effbench.settings import parse_settings

SIZE = (64, 96)

GLOBALS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "deterministic mode": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
}
"""PyTorch's settings for the whole process: name -> how to read and set it."""


@contextmanager
def preserved() -> Iterator[None]:
    """Undo what happens inside to PyTorch's settings for the whole process."""
    before = {name: read() for name, (read, _) in GLOBALS.items()}
    try:
        yield
    finally:
        for name, (read, put) in GLOBALS.items():
            if read() != before[name]:
                put(before[name])


@dataclass(frozen=True)
class Subject:
    """An encoder class with the pyramid and the settings that it is examined with."""

    name: str
    cls: type[Encoder]
    features: Features
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """setting -> default, of all settings that the class takes."""
        return self.cls.setting_defaults(self.settings)

    def build(self, features: Mapping[str, Any] | None = None) -> Encoder:
        """The encoder in evaluation mode, with new weights; `features` in place of the subject's own."""
        with preserved():
            return self.cls(self.features if features is None else features, **self.settings).eval()

    def pyramid(
        self,
        batch: int = 2,
        size: tuple[int, int] = SIZE,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> dict[str, Tensor]:
        """Random maps (B, C, H/s, W/s) of a (H, W) image; sizes round up, as strided convolutions do."""
        return {
            name: torch.randn(batch, channels, -(-size[0] // stride), -(-size[1] // stride), device=device).to(dtype)
            for name, (channels, stride) in self.features.items()
        }

    def run(self, encoder: Encoder, features: Mapping[str, Tensor], seed: int | None = 0, **call: Any) -> EncoderOutput:
        """What a copy of `encoder` returns for a copy of `features`, without gradients.

        `seed` None draws on from where the generator stands.
        """
        given = {name: x.clone() for name, x in features.items()}
        with torch.no_grad(), torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            return self.call(copy.deepcopy(encoder), given, **call)

    def call(self, encoder: Encoder, features: Mapping[str, Tensor], **call: Any) -> EncoderOutput:
        """What `encoder` itself returns. One with early exits leaves at the deepest, unless `call` says otherwise."""
        if exits := exits_of(encoder):
            call.setdefault("exit", max(exits))
        with preserved():
            return encoder(features, **call)


def find_subject(name: str, settings: Sequence[str] = (), backbone: str = "resnet_mini") -> Subject:
    """The encoder called `name`, on the pyramid of `backbone`.

    `mask_dim` is halved where nobody chose it and it equals `dim`: otherwise a mix-up of the two would not show.

    Args:
        name: a registered name (this package's or another's entry point) or `module:Class`, the module importable
            or in the current folder.
        settings: `NAME=VALUE` texts.
        backbone: a preset or timm name.

    Raises:
        SettingError, InputError: an unknown name, setting or backbone, or a module that cannot be imported.
    """
    cls = _imported(name) if ":" in name else encoder_class(name)
    if not (isinstance(cls, type) and issubclass(cls, Encoder)):
        raise InputError(f"{name} is {cls!r}; expected a class derived from effbench.encoders.contract.Encoder")
    chosen = parse_settings(settings, cls, name)
    defaults = cls.setting_defaults(chosen)
    dim, mask_dim = chosen.get("dim", defaults.get("dim")), defaults.get("mask_dim")
    if isinstance(mask_dim, int) and mask_dim == dim and "mask_dim" not in chosen:
        chosen["mask_dim"] = mask_dim // 2
    with torch.device("meta"):
        features = build_backbone(backbone).features
    return Subject(name, cls, {key: FeatureSpec(*spec) for key, spec in features.items()}, chosen)


def _imported(name: str) -> Any:
    module, _, cls = name.partition(":")
    if not module or not cls:
        raise InputError(f"{name!r} names no class; expected MODULE:CLASS, such as my_package.my_module:MyEncoder")
    # last, so that no folder here hides an installed package
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise InputError(
            f"module {module} cannot be imported ({type(error).__name__}: {' '.join(str(error).split())}); "
            "name one that is installed or lies in this folder"
        ) from error
    if not hasattr(found, cls):
        classes = [key for key, value in vars(found).items() if isinstance(value, type) and issubclass(value, Encoder)]
        raise InputError(
            f"{found.__file__ or module} has no {cls!r}; {did_you_mean(cls, classes)}"
            f"encoders there: {', '.join(classes) or 'none'}"
        )
    return getattr(found, cls)

"""Encoders by name: those of this package, and those that other packages offer.

A newcomer adds one file here with one class under `@register("name")`, or offers a class from a package of their
own through the entry-point group `effbench.encoders`. Nothing else lists encoders.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import effbench.encoders
from effbench.encoders.contract import Encoder, Features, SettingError, did_you_mean

ENTRY_POINTS = "effbench.encoders"

_E = TypeVar("_E", bound=type[Encoder])
_registered: dict[str, type[Encoder]] = {}
_entry_points: dict[str, str] = {}


def register(name: str) -> Callable[[_E], _E]:
    """Class decorator: make an Encoder buildable by `name`. Raises ValueError when the name is taken."""

    def add(cls: _E) -> _E:
        if _registered.get(name, cls) is not cls:
            raise ValueError(
                f"encoder {name!r} is registered twice: {_registered[name].__module__} and {cls.__module__}"
            )
        _registered[name] = cls
        return cls

    return add


def registered() -> Mapping[str, type[Encoder]]:
    """name -> class, after importing every module of this package and every entry point."""
    for module in pkgutil.iter_modules(effbench.encoders.__path__):
        importlib.import_module(f"effbench.encoders.{module.name}")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if _entry_points.get(point.name) == point.value:
            continue
        try:
            offered = point.load()
        except Exception as error:
            raise SettingError(
                f"entry point {point.name} = {point.value} cannot be loaded ({error}); mend or uninstall its package"
            ) from error
        if _registered.get(point.name, offered) is not offered:
            taken = _registered[point.name].__module__
            raise SettingError(f"entry point {point.value} offers encoder {point.name!r}, which {taken} has already")
        register(point.name)(offered)
        _entry_points[point.name] = point.value
    return dict(sorted(_registered.items()))


def encoder_class(name: str) -> type[Encoder]:
    """The class behind `name`; SettingError with near matches when there is none."""
    known = registered()
    if name not in known:
        hint = did_you_mean(name, known, cutoff=0.4)
        raise SettingError(f"no encoder is called {name!r}; {hint}known: {', '.join(known)}")
    return known[name]


def setting_defaults(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of encoder `name` with their defaults, where `settings` were chosen."""
    return encoder_class(name).setting_defaults(settings or {})


def build_encoder(name: str, features: Features, **settings: Any) -> Encoder:
    """Build encoder `name`.

    Args:
        name: a registered name.
        features: name -> FeatureSpec or (channels, stride) for res2..res5.
        settings: the encoder's own settings; the rest keep their defaults.

    Raises:
        SettingError: an unknown name or setting, or a value the encoder cannot be built with.
    """
    cls = encoder_class(name)
    defaults = setting_defaults(name, settings)
    for setting in settings:
        if setting not in defaults:
            hint = did_you_mean(setting, defaults, most=1)
            raise SettingError(f"{name} has no setting {setting!r}; {hint}allowed: {', '.join(defaults)}")
    return cls(features, **settings)

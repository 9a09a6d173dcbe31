"""Settings as a user writes them: `p=1,1,1` into what the encoder takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from effbench.encoders.contract import did_you_mean
from effbench.errors import InputError


def parse_settings(texts: Sequence[str], defaults: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """`name=value` texts as typed values; a setting's default says its type.

    Raises InputError for a text without "=", an unknown name (with near matches) or a value of another type.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"setting {text!r}; expected NAME=VALUE, such as p=1,1,1")
        if name not in defaults:
            hint = did_you_mean(name, defaults, most=1)
            raise InputError(f"{owner} has no setting {name!r}; {hint}allowed: {', '.join(defaults)}")
        settings[name] = _value(name, value, defaults[name])
    return settings


def _value(name: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(type(default[0])(item) for item in text.strip("()").split(","))
        return type(default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else f"a value like its default {default!r}"
        raise InputError(f"setting {name}={text!r}; expected {kind}") from None

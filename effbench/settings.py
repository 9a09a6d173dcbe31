"""Settings as a user writes them: `p=1,1,1` into what the encoder takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from effbench.encoders.contract import Encoder, did_you_mean
from effbench.errors import InputError


def parse_settings(texts: Sequence[str], cls: type[Encoder], owner: str) -> dict[str, Any]:
    """`name=value` texts as typed values of an encoder's settings; a setting's default says its type.

    Raises InputError for a text without "=", an unknown name (with near matches) or a value of another type, and
    SettingError for a value that says which other settings there are, and does not.
    """
    settings = {}
    defaults = cls.setting_defaults(dict(text.split("=", 1) for text in texts if "=" in text))
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
            items = text.strip("()")
            if not items and not default:  # one that is empty by default may be given so
                return ()
            of = type(default[0]) if default else int
            return tuple(of(item) for item in items.split(","))
        return type(default)(text)
    except (KeyError, ValueError):
        kind = "true or false" if isinstance(default, bool) else f"a value like its default {default!r}"
        raise InputError(f"setting {name}={text!r}; expected {kind}") from None

"""Settings as they are typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from effbench.errors import InputError
from effbench.settings import parse_settings


class Encoders:
    """Stands for an encoder class: what it takes depends on one of its settings."""

    @classmethod
    def setting_defaults(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        own = {"p": (3, 3, 3), "embedding": "max_pool", "dim": 256, "temperature": 0.1, "residual": False}
        return {**own, "base": "a", "exits": (), **({"layers": 6} if settings.get("base") == "b" else {})}


def parse(*texts: str) -> dict[str, Any]:
    return parse_settings(texts, Encoders, "proscale")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("p=1,2,3", (1, 2, 3)),
        ("p=(1,2,3)", (1, 2, 3)),
        ("p=1, 2, 3", (1, 2, 3)),
        ("p=0", (0,)),  # whether that fits is the encoder's to say
        ("embedding=conv", "conv"),
        ("embedding=a=b", "a=b"),
        ("dim=64", 64),
        ("dim=-1", -1),
        ("temperature=1", 1.0),
        ("temperature=1e-2", 0.01),
        ("residual=true", True),
        ("residual=False", False),
        ("exits=2,4", (2, 4)),
        ("exits=()", ()),
    ],
)
def test_the_default_says_the_type(text: str, value: Any) -> None:
    (name,) = parsed = parse(text)
    assert parsed[name] == value
    assert type(parsed[name]) is type(value)


def test_nothing_given_is_nothing_set() -> None:
    assert parse() == {}


def test_several_settings_and_the_last_one_wins() -> None:
    assert parse("dim=64", "p=1,1,1", "dim=32") == {"dim": 32, "p": (1, 1, 1)}


@pytest.mark.parametrize("text", ["p", "", "p 1,1,1", "p:1"])
def test_a_text_without_an_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=VALUE, such as p=1,1,1"):
        parse(text)


def test_an_unknown_name_gives_the_nearest_and_all() -> None:
    with pytest.raises(InputError) as raised:
        parse("embeding=conv")
    assert "proscale has no setting 'embeding'; did you mean embedding?" in str(raised.value)
    assert str(raised.value).endswith("allowed: p, embedding, dim, temperature, residual, base, exits")
    with pytest.raises(InputError) as raised:
        parse("zzz=1")
    assert "did you mean" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "p=",
        "p=1,,1",
        "p=1,a,1",
        "p=1.5,1,1",
        "dim=",
        "dim=a",
        "dim=64.0",
        "temperature=warm",
        "residual=1",
        "residual=",
    ],
)
def test_a_value_of_another_type_is_refused_by_name(text: str) -> None:
    name, _, value = text.partition("=")
    with pytest.raises(InputError, match=rf"setting {name}='{value}'; expected") as raised:
        parse(text)
    assert raised.value.__suppress_context__, "one clear line"


def test_a_setting_may_say_which_others_there_are() -> None:
    assert parse("layers=4", "base=b") == {"layers": 4, "base": "b"}
    with pytest.raises(InputError, match="proscale has no setting 'layers'"):
        parse("layers=4", "base=a")

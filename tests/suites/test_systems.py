"""Which encoders are compared, how they are narrowed, and how the user names them."""

from __future__ import annotations

import pytest

from effbench.encoders.registry import registered, setting_defaults
from effbench.errors import InputError
from effbench.study.suite import NARROW, System
from effbench.suites.systems import (
    BASELINE,
    COUNTED,
    LITE_LPE,
    P222,
    RT_FUSED,
    RT_FUSED_NO_CONV,
    RT_NO_CONV,
    SYSTEMS,
    chosen,
    counted,
)


def test_eight_are_trained_and_thirteen_are_counted_in_one_order() -> None:
    assert (len(SYSTEMS), len(COUNTED)) == (8, 13)
    assert [system for system in COUNTED if system in SYSTEMS] == list(SYSTEMS)
    only = {P222, LITE_LPE, RT_FUSED, RT_NO_CONV, RT_FUSED_NO_CONV}
    assert set(COUNTED) - set(SYSTEMS) == only
    assert SYSTEMS[0] == BASELINE
    assert len({system.label for system in COUNTED}) == len(COUNTED)


def test_every_encoder_is_compared() -> None:
    exits = {"early_exit"}  # whose bases are compared here, and its exits in suite eco
    assert {system.encoder for system in SYSTEMS} == registered().keys() - exits


def test_a_system_takes_of_a_width_what_its_encoder_has() -> None:
    widths = {system.label: system.fields(NARROW)["width"] for system in COUNTED}
    for system in COUNTED:
        assert widths[system.label].keys() == NARROW.keys() & setting_defaults(system.encoder).keys()
        assert widths[system.label].items() <= NARROW.items()
        assert system.fields()["width"] == {}
    assert "d" in widths["convnext_unet"] and "heads" not in widths["convnext_unet"]
    assert "heads" in widths["mask2former"] and "d" not in widths["mask2former"]
    assert {name for width in widths.values() for name in width} == NARROW.keys(), "a name that none has is a typo"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), [system.label for system in SYSTEMS]),
        (("fpn",), ["fpn"]),
        (("proscale",), ["proscale(p=(3,3,3))", "proscale(p=(1,1,1))"]),
        (("lite", "proscale(p=(1,1,1))"), ["proscale(p=(1,1,1))", "lite"]),  # in the suite's order
        (("mask2former",), ["mask2former"]),  # a system before it is an encoder
    ],
)
def test_a_name_is_a_systems_or_its_encoders(names: tuple[str, ...], expected: list[str]) -> None:
    assert [system.label for system in chosen(names, "coco")] == expected


@pytest.mark.parametrize("name", ["resnet", "proscale(p=(2,2,2))", "proscale(p=(9,9,9))", ""])
def test_an_unknown_name_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InputError, match=r"is not in suite coco; expected some of mask2former, .*fpn$"):
        chosen((name,), "coco")


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ((), [s for s in COUNTED if s not in SYSTEMS]),
        (("rt",), [RT_FUSED, RT_NO_CONV, RT_FUSED_NO_CONV]),
        (("proscale(p=(3,3,3))",), [P222]),
        (("fpn", "lite"), [LITE_LPE]),
        (("fpn", "mask2former"), []),
    ],
)
def test_what_is_only_counted_comes_with_its_encoder(names: tuple[str, ...], more: list[System]) -> None:
    systems = chosen(names, "coco")
    assert counted(systems) == [system for system in COUNTED if system in systems or system in more]

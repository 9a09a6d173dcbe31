"""Suites are found by their files."""

from __future__ import annotations

import pytest

from effbench.errors import InputError
from effbench.study.suite import System, find_suite, suites


def test_the_suites_of_the_folder_are_found() -> None:
    found = suites()
    assert "coco" in found
    assert all(suite.name == name and suite.question.endswith("?") for name, suite in found.items())


def test_an_unknown_suite_is_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"no suite is called 'cocoa'; expected one of .*coco"):
        find_suite("cocoa")


def test_a_systems_width_is_cut_to_the_settings_that_its_encoder_has() -> None:
    width = {"dim": 64, "heads": 4}
    assert System("fpn").fields(width)["width"] == {"dim": 64}
    assert System("mask2former").fields(width)["width"] == width
    assert System("proscale", {"p": (1, 1, 1)}).fields() == {
        "encoder": "proscale",
        "settings": {"p": (1, 1, 1)},
        "width": {},
    }
    assert System("proscale", {"p": (1, 1, 1)}).label == "proscale(p=(1,1,1))"

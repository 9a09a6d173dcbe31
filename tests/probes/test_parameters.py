"""Parameters by component."""

from __future__ import annotations

from typing import Any

import pytest

from effbench.probes import parameters
from effbench.probes.base import Context
from effbench.study.cell import Cell


# The released encoders' own counts, on Swin-T's channels.
@pytest.mark.parametrize(
    ("encoder", "settings", "released"),
    [
        ("mask2former", {}, 5_421_504),
        ("proscale", {"p": (1, 1, 1)}, 2_561_345),
        ("proscale", {"p": (2, 2, 2)}, 4_683_905),
        ("proscale", {"p": (3, 3, 3)}, 6_806_465),
    ],
)
def test_encoders_have_the_released_parameters(encoder: str, settings: dict[str, Any], released: int) -> None:
    cell = Cell(encoder, "swin_t", dataset="coco", size="512x512", classes=133, queries=100, settings=settings)
    measured = parameters.measure(cell, Context("unused"))
    assert measured.samples == [released]
    assert measured.unit == "parameters"
    assert measured.detail["encoder"] == released


def test_the_backbone_and_decoder_are_counted_apart() -> None:
    cell = Cell("mask2former", "r50", dataset="coco", size="512x512", classes=133, queries=100)
    detail = parameters.measure(cell, Context("unused")).detail
    assert detail.keys() == {"backbone", "encoder", "decoder"}
    assert detail["encoder"] == 6_035_904
    assert detail["backbone"] == 23_508_032, "ResNet-50 without its classifier"

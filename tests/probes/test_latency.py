"""Encoder latency: what is inside the clock, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.encoders.fpn import FPNEncoder
from effbench.errors import InputError
from effbench.models.backbones import Backbone
from effbench.probes import latency
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]


def test_every_sample_and_the_warm_up_are_kept(tiny_cell: MakeCell, context: Context) -> None:
    events: list[dict[str, Any]] = []
    measured = latency.measure(
        tiny_cell(size="64x96", options={"samples": 7}),
        replace(context, report=lambda **event: events.append(event)),
    )
    assert measured.unit == "s"
    assert len(measured.samples) == 7
    assert len(measured.detail["warm_up"]) >= 2
    assert min(*measured.samples, *measured.detail["warm_up"]) > 0
    assert measured.detail["sizes"] == ["64x96"]
    assert [event["done"] for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert {event["total"] for event in events} == {7}


def test_the_clock_is_around_the_encoder_and_nothing_else(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder's 20 ms are seen, the backbone's one and a half seconds are not."""

    def slower(cls: type, seconds: float) -> None:
        forward = cls.forward

        def slow(self: Any, x: Any) -> Any:
            time.sleep(seconds)
            return forward(self, x)

        monkeypatch.setattr(cls, "forward", slow)

    slower(FPNEncoder, 0.02)
    slower(Backbone, 1.5)
    # of a photo, since random maps need no backbone at all
    measured = latency.measure(tiny_cell(size="data", options={"samples": 2, "images": 1}), context)
    assert 0.02 <= min(measured.samples) < 1.5


def test_photos_are_timed_at_the_size_that_evaluation_gives_them(tiny_cell: MakeCell, context: Context) -> None:
    measured = latency.measure(tiny_cell(size="data", options={"samples": 3, "images": 2}), context)
    assert measured.detail["sizes"] == ["800x800", "800x800"], "64 x 64 pixels, shorter side to 800"
    assert len(measured.samples) == 4, "the same number of each photo, and no fewer than asked for"


def test_photos_of_cityscapes_are_timed_at_its_test_size(
    tiny_cell: MakeCell, context: Context, cityscapes_root: Path
) -> None:
    context = replace(context, inputs={"data_root": str(cityscapes_root)})
    measured = latency.measure(tiny_cell(size="data", options={"samples": 1, "images": 1}), context)
    assert measured.detail["sizes"] == ["1024x2048"], "4 x 8 pixels, shorter side to 1024 and not to 800"


def test_which_operator_ran_is_said(tiny_cell: MakeCell, context: Context) -> None:
    options = {"samples": 1}
    deformable = tiny_cell(encoder="mask2former", settings={"layers": 1, "impl": "reference"}, options=options)
    assert latency.measure(deformable, context).implementation == {"ms_deform_attn": "reference"}
    assert latency.measure(tiny_cell(options=options), context).implementation == {}


@pytest.mark.parametrize("size", ["65x64", "64x100"])
def test_a_size_that_would_need_padding_is_refused(size: str, tiny_cell: MakeCell, context: Context) -> None:
    with pytest.raises(InputError, match="expected multiples of 32"):
        latency.measure(tiny_cell(size=size, options={"samples": 1}), context)

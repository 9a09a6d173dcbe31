"""Encoder latency: what is inside the clock, and what is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.encoders.fpn import FPNEncoder
from effbench.errors import InputError
from effbench.models.backbones import Backbone
from effbench.probes import latency
from effbench.probes.base import Context
from effbench.probes.clocks import Run, Sample
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
pytestmark = pytest.mark.usefixtures("quick_watch")


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
    assert measured.detail["clock"] == "host" and measured.detail["host"] == measured.samples
    assert measured.detail["device"] is measured.detail["launch_bound"] is measured.detail["graph"] is None
    assert len(measured.detail["at"]) == 7 and sorted(measured.detail["at"]) == measured.detail["at"]
    assert len(measured.detail["canary"]["before"]) == len(measured.detail["canary"]["after"]) == 11
    json.dumps(measured.detail, allow_nan=False)
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


def test_the_warm_up_lasts_as_long_as_the_profile_wants(tiny_cell: MakeCell, context: Context) -> None:
    measured = latency.measure(tiny_cell(options={"samples": 1, "warm_up_s": 0.3}), context)
    assert sum(measured.detail["warm_up"]) >= 0.3
    assert measured.detail["drift"] is None, "one sample has no trend"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_type_and_batch_are_axes(dtype: str, tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(encoder="mask2former", settings={"layers": 1}, dtype=dtype, batch=2, options={"samples": 2})
    ran = latency.measure(cell, context).detail["conditions"]
    assert (ran["dtype"], ran["batch"]) == (dtype, 2)


def test_a_compiled_encoder_is_timed_without_its_compilation(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        time.sleep(0.3)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    detail = latency.measure(tiny_cell(options={"samples": 3, "mode": "compile"}), context).detail
    assert detail["conditions"]["mode"] == "compile" and detail["graph_breaks"] == 0
    assert detail["warm_up"][0] > 0.3 > max(detail["host"])


def test_photos_of_many_sizes_are_not_compiled(tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(size="data", options={"samples": 1, "images": 1, "mode": "compile"})
    with pytest.raises(InputError, match='size "data" under float32, compile; expected a size HxW'):
        latency.measure(cell, context)


class TwoClocks:
    """A device that needs `device` seconds for what the host sees after `host`."""

    def __init__(self, host: float, device: float) -> None:
        self.host, self.device, self.runs = host, device, 0

    def time(self, run: Run) -> Sample:
        run()
        self.runs += 1
        return Sample(time.perf_counter(), self.host, self.device + self.runs * 1e-9)


def test_where_the_device_has_a_clock_its_time_is_meant_and_both_are_kept(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "clock", lambda _: TwoClocks(0.0105, 0.010))
    measured = latency.measure(tiny_cell(options={"samples": 4}), context)
    assert measured.samples == measured.detail["device"] == pytest.approx([0.010] * 4, rel=1e-3)
    assert len(set(measured.samples)) == 4
    assert measured.detail["clock"] == "device" and measured.detail["host"] == [0.0105] * 4
    assert measured.detail["launch_bound"] is False and measured.detail["graph"] is None


def test_a_launch_bound_encoder_is_replayed_as_a_graph(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[Run] = []

    def capture(run: Run) -> Run:
        captured.append(run)
        return lambda: None

    monkeypatch.setattr(latency, "clock", lambda _: TwoClocks(0.030, 0.010))
    monkeypatch.setattr(latency, "capture", capture)
    detail = latency.measure(tiny_cell(options={"samples": 4}), context).detail
    assert detail["launch_bound"] is True
    assert len(captured) == 1
    assert detail["graph"]["clock"] == "device" and len(detail["graph"]["device"]) == len(detail["graph"]["host"]) == 4


def test_why_there_is_no_graph_is_said(tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(latency, "clock", lambda _: TwoClocks(0.030, 0.010))
    monkeypatch.setattr(latency, "capture", refuse)
    measured = latency.measure(tiny_cell(options={"samples": 4}), context)
    assert measured.detail["graph"] == {"failed": "RuntimeError: operation not permitted when stream is capturing"}
    assert len(measured.samples) == 4


@pytest.mark.cuda
@pytest.mark.parametrize("mode", ["eager", "compile", "graph"])
def test_on_a_gpu_every_mode_is_timed(mode: str, tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(device="cuda", size="256x256", options={"samples": 20, "mode": mode, "shared": True})
    detail = latency.measure(cell, context).detail
    assert detail["clock"] == "device" and len(detail["device"]) == len(detail["host"]) == 20
    assert detail["synchronisations"] == 0
    assert mode != "eager" or detail["launch_bound"], "a tiny encoder waits for its launches"
    assert detail["graph"] is None or "failed" not in detail["graph"]

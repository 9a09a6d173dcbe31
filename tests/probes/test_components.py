"""Times by component sum to the whole, and a slow component is found where it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from effbench.errors import InputError
from effbench.models.mask2former_decoder import Mask2FormerDecoder
from effbench.models.segmenter import Segmenter
from effbench.probes import clocks, components
from effbench.probes.base import Context, segmenter
from effbench.probes.whole_pass import COMPONENTS, end_to_end, marked, random_images
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
pytestmark = [pytest.mark.usefixtures("quick_watch"), pytest.mark.usefixtures("small_ceilings")]


def test_components_sum_to_the_whole(tiny_cell: MakeCell, context: Context) -> None:
    detail = components.measure(tiny_cell(size="96x96", options={"samples": 12}), context).detail
    assert set(detail["components"]) == set(COMPONENTS)
    assert all(len(times) == 12 and min(times) > 0 for times in detail["components"].values())
    sums = [sum(times) for times in zip(*detail["components"].values(), strict=True)]
    assert sums == pytest.approx(detail["with_boundaries"], rel=0.03)
    assert 0 <= detail["residual"] < 0.03
    json.dumps(detail, allow_nan=False)


def test_the_samples_are_passes_without_boundaries(tiny_cell: MakeCell, context: Context) -> None:
    measured = components.measure(tiny_cell(options={"samples": 12}), context)
    assert measured.unit == "s" and len(measured.samples) == 12
    assert measured.detail["sum_over_whole"] == pytest.approx(
        sum(measured.detail["mean_s"][name] for name in COMPONENTS) / (sum(measured.samples) / 12)
    )
    assert len(measured.detail["at"]) == 12


def test_a_planted_sleep_appears_in_its_component(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of 5 ms in the decoder: there, and in the whole, and nowhere else."""
    forward, sleep = Mask2FormerDecoder.forward, 0.005
    cell = tiny_cell(options={"samples": 20})
    slow = False

    def maybe_slow(self: Any, encoded: Any) -> Any:
        if slow:
            time.sleep(sleep)
        return forward(self, encoded)

    monkeypatch.setattr(Mask2FormerDecoder, "forward", maybe_slow)
    before = components.measure(cell, context).detail["components"]
    slow = True
    after = components.measure(cell, context).detail["components"]
    # by their least times: what else the machine does only adds
    gained = {name: min(after[name]) - min(before[name]) for name in COMPONENTS}
    assert gained.pop("decoder") == pytest.approx(sleep, rel=0.3)
    assert max(map(abs, gained.values())) < 0.2 * sleep


def test_the_mean_of_a_planted_sleep_is_the_decoders(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that only the sleep moves: exactly."""
    now = 0.0

    def slow(self: Any, encoded: Any) -> Any:
        nonlocal now
        now += 0.005
        return forward(self, encoded)

    def tick() -> float:
        nonlocal now
        now += 1e-6
        return now

    forward = Mask2FormerDecoder.forward
    monkeypatch.setattr(Mask2FormerDecoder, "forward", slow)
    monkeypatch.setattr(clocks.time, "perf_counter", tick)
    mean = components.measure(tiny_cell(options={"samples": 3}), context).detail["mean_s"]
    assert mean["decoder"] == pytest.approx(0.005, abs=1e-5)
    assert all(mean[name] < 1e-5 for name in COMPONENTS if name != "decoder")


def test_boundaries_are_synchronised(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that a component has launched is its own, though another waits for it."""
    waits: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    cell = tiny_cell()
    model = segmenter(cell).eval()
    with torch.inference_mode():
        components.split_pass(model, random_images(cell), torch.device("cuda", 0))
    assert waits == [torch.device("cuda", 0)] * 2 * (len(COMPONENTS) + 1)


def test_boundaries_are_where_they_should_be(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    cell = tiny_cell(batch=2)
    model = segmenter(cell).eval()
    prepare = Segmenter.prepare
    monkeypatch.setattr(Segmenter, "prepare", lambda self, x: events.append("prepare") or prepare(self, x))
    with marked(model, lambda name: events.append(f"> {name}"), lambda name: events.append(f"{name} >")) as run:
        run(random_images(cell))
    assert events == [
        "> preparation",
        "prepare",
        "preparation >",
        *(event for part in ("backbone", "encoder", "decoder") for event in (f"> {part}", f"{part} >")),
        "> post_processing",
        "post_processing >",
    ]
    end_to_end(model, random_images(cell))
    assert events[-1] == "prepare", "no hook is left behind"


def test_an_odd_size_and_a_narrow_type_run_through(tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(size="50x70", dtype="bfloat16", batch=2, options={"samples": 1})
    detail = components.measure(cell, context).detail
    assert detail["segments"] >= 0
    assert set(detail["roofline"]) == {"ceilings", "backbone", "encoder", "decoder"}


def test_macs_of_a_pass_are_those_of_its_batch_and_include_the_top_down_resize(tiny_cell: MakeCell) -> None:
    one, two = components._macs(tiny_cell(size="50x70")), components._macs(tiny_cell(size="64x96", batch=2))
    assert two == {name: 2 * macs for name, macs in one.items()}


def test_a_compiled_model_has_no_boundaries(tiny_cell: MakeCell, context: Context) -> None:
    with pytest.raises(InputError, match=r"components in mode 'compile'.*expected 'eager'"):
        components.measure(tiny_cell(options={"samples": 1, "mode": "compile"}), context)


@pytest.mark.cuda
def test_on_a_gpu_components_sum_to_the_whole(tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(device="cuda", size="512x512", options={"samples": 20, "shared": True})
    detail = components.measure(cell, context).detail
    assert 0 <= detail["residual"] < 0.03
    assert detail["roofline"]["decoder"]["bound"] == "launch"

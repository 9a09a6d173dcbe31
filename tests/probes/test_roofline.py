"""What bounds a component, by the documented rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from effbench.probes import roofline
from effbench.probes.base import segmenter
from effbench.probes.clocks import Run, Sample
from effbench.probes.conditions import conditions
from effbench.probes.roofline import Ceilings, bytes_moved, calls, ceilings, place, rooflines
from effbench.probes.whole_pass import random_images
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
ROOF = Ceilings(mac_per_s=100.0, byte_per_s=10.0, operator="product")


def test_the_nearer_ceiling_bounds() -> None:
    compute = place(macs=50, moved=1, seconds=1.0, roof=ROOF, waits=None)
    assert (compute["bound"], compute["attained"]) == ("compute", 0.5)
    memory = place(macs=50, moved=8, seconds=1.0, roof=ROOF, waits=False)
    assert (memory["bound"], memory["attained"]) == ("memory", 0.8)
    assert (memory["mac_share"], memory["byte_share"]) == (0.5, 0.8)


def test_rates_are_those_of_the_time_it_took() -> None:
    placed = place(macs=50, moved=8, seconds=2.0, roof=ROOF, waits=None)
    assert (placed["mac_per_s"], placed["byte_per_s"]) == (25.0, 4.0)


def test_waiting_for_launches_comes_first() -> None:
    assert place(macs=50, moved=8, seconds=1.0, roof=ROOF, waits=True)["bound"] == "launch"


def test_bytes_are_inputs_outputs_and_weights() -> None:
    layer = nn.Linear(4, 8)  # 40 numbers
    x = torch.ones(2, 4)
    assert bytes_moved(layer, (x,), layer(x)) == 4 * (40 + 8 + 16)
    assert bytes_moved(layer.half(), ({"a": x.half()},), [layer(x.half())]) == 2 * (40 + 8 + 16)
    assert bytes_moved(nn.BatchNorm1d(4), (), None) == 4 * 16 + 8, "running statistics, and an int64 counter"


def test_a_components_own_maps_are_counted(tiny_cell: MakeCell) -> None:
    cell = tiny_cell(size="64x64")
    model = segmenter(cell).eval()
    seen = calls(model, random_images(cell))
    inputs, output = seen["encoder"]
    maps = sum(s.channels * (64 // s.stride) ** 2 for s in model.backbone.features.values())
    out = 32 * (16**2 + 2**2 + 4**2 + 8**2)
    weights = sum(p.numel() for p in model.encoder.parameters())
    assert bytes_moved(model.encoder, inputs, output) == 4 * (maps + out + weights)
    assert list(seen) == ["backbone", "encoder", "decoder"]


@pytest.mark.usefixtures("quick_watch", "small_ceilings")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ceilings_are_measured(dtype: torch.dtype) -> None:
    roof = ceilings(torch.device("cpu"), dtype)
    assert roof.mac_per_s > 1e6 and roof.byte_per_s > 1e6


def test_ceilings_are_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millisecond for each run, by the device's clock where there is one."""

    class Fixed:
        def time(self, run: Run) -> Sample:
            return Sample(0.0, 0.5, 0.001)

    monkeypatch.setattr(roofline, "clock", lambda _: Fixed())
    monkeypatch.setitem(roofline.SIDE, "cpu", 100)
    monkeypatch.setattr(roofline, "CHANNELS", 1)
    monkeypatch.setitem(roofline.MAP, "cpu", (1, 1, 8, 8))
    monkeypatch.setattr(roofline, "COPIED", 100)
    roof = ceilings(torch.device("cpu"), torch.float32)
    assert roof == Ceilings(mac_per_s=pytest.approx(1e9), byte_per_s=pytest.approx(2e5), operator="product")
    monkeypatch.setitem(roofline.MAP, "cpu", (2, 1, 1000, 1000))
    roof = ceilings(torch.device("cpu"), torch.float32)
    assert (roof.mac_per_s, roof.operator) == (pytest.approx(9 * 2e6 * 1e3), "convolution")


@pytest.mark.usefixtures("quick_watch", "small_ceilings")
def test_a_part_that_waits_for_its_launches_is_found(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device whose clock is far behind the host's; on a CPU nothing is launched."""
    cell = tiny_cell()
    model, images, how = segmenter(cell).eval(), random_images(cell), conditions(cell)
    macs, seconds = dict.fromkeys(calls(model, images), 10**6), dict.fromkeys(calls(model, images), 0.01)
    assert rooflines(model, images, how, macs, seconds)["encoder"]["bound"] in ("compute", "memory")

    class Launching:
        def time(self, run: Run) -> Sample:
            run()
            return Sample(0.0, 0.012, 0.010)

    roof = Ceilings(1e9, 1e9, "product")
    monkeypatch.setattr(roofline, "clock", lambda _: Launching())
    monkeypatch.setattr(roofline, "ceilings", lambda *_: roof)
    answer = rooflines(model, images, replace(how, device=torch.device("cuda")), macs, seconds)
    assert {answer[part]["bound"] for part in ("backbone", "encoder", "decoder")} == {"launch"}

"""Energy per image with idle power subtracted, on a meter that a test reads from a script."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from effbench.errors import InputError
from effbench.probes import energy
from effbench.probes.base import Context
from effbench.probes.energy import idle_power, no_meter, window
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
CPU = torch.device("cpu")


class World:
    """A clock, and a meter of a device that draws 20 W when idle and 100 W at work."""

    def __init__(self) -> None:
        self.now, self.joules, self.begun = 0.0, 0.0, 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.joules += 20 * seconds

    def work(self, seconds: float = 0.5) -> None:
        self.now += seconds
        self.joules += 100 * seconds

    def begin(self) -> None:
        self.begun = self.joules

    def end(self) -> float:
        return self.joules - self.begun


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: made.now, sleep=made.sleep))
    return made


def test_idle_power_is_measured(world: World) -> None:
    assert idle_power(world, 5.0) == pytest.approx(20)


def test_a_window_lasts_long_enough_and_counts_its_images(world: World) -> None:
    assert window(world, world.work, batch=4, seconds=5.0) == {"joules": 500, "seconds": 5.0, "images": 40}
    assert window(world, lambda: world.work(3.0), 1, 5.0) == {"joules": 600, "seconds": 6.0, "images": 2}


@pytest.mark.usefixtures("quick_watch")
def test_an_image_costs_what_it_adds_to_idling(
    world: World, tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "ZeusMeter", lambda device: world)
    monkeypatch.setattr(energy, "end_to_end", lambda model, images: world.work())
    measured = energy.measure(tiny_cell(batch=2), context)
    assert measured.unit == "J"
    assert measured.samples == pytest.approx([(100 - 20) * 0.5 / 2] * 3)
    assert measured.detail["idle_w"] == pytest.approx(20)
    assert [w["images"] for w in measured.detail["windows"]] == [20, 20, 20]
    assert all(w["seconds"] >= 5 for w in measured.detail["windows"])
    json.dumps(measured.detail, allow_nan=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seconds": 1}, "seconds=1; expected at least 5"), ({"mode": "compile"}, "energy in mode 'compile'")],
)
def test_what_says_nothing_is_refused(
    options: dict[str, Any], message: str, tiny_cell: MakeCell, context: Context
) -> None:
    with pytest.raises(InputError, match=message):
        energy.measure(tiny_cell(options=options), context)


# --- is there a meter? -----------------------------------------------------------------------------------------------


@pytest.fixture
def zeus(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """An installed zeus whose monitors are kept here."""
    made: list[dict[str, Any]] = []

    class ZeusMonitor:
        def __init__(self, **how: Any) -> None:
            self.windows: list[str] = []
            made.append(how)

        def begin_window(self, name: str) -> None:
            self.windows.append(name)

        def end_window(self, name: str) -> Any:
            self.windows.remove(name)
            return SimpleNamespace(gpu_energy={1: 7.0}, cpu_energy={0: 2.0, 1: 3.0})

    package, monitor = ModuleType("zeus"), ModuleType("zeus.monitor")
    package.__spec__ = importlib.machinery.ModuleSpec("zeus", None)
    monitor.ZeusMonitor = ZeusMonitor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "zeus", package)
    monkeypatch.setitem(sys.modules, "zeus.monitor", monitor)
    return made


@pytest.fixture
def rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    monkeypatch.delenv("ZEUSD_SOCK_PATH", raising=False)
    return tmp_path


def test_zeus_is_asked_for_the_cells_device_only(zeus: list[dict[str, Any]]) -> None:
    gpu, cpu = energy.ZeusMeter(torch.device("cuda", 1)), energy.ZeusMeter(CPU)
    assert zeus == [{"gpu_indices": [1], "cpu_indices": []}, {"gpu_indices": [], "cpu_indices": None}]
    for meter, joules in ((gpu, 7.0), (cpu, 5.0)):
        meter.begin()
        assert meter.end() == joules


def test_without_zeus_there_is_no_meter(tiny_cell: MakeCell, rapl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    reason = energy.missing(tiny_cell())
    assert reason is not None and "shows no RAPL counters" in reason, "where zeus would not help"
    counter = rapl / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("1")
    for device in ("cpu", "cuda"):
        reason = no_meter(torch.device(device))
        assert reason is not None and "zeus is not installed; give python -m pip install zeus" in reason


@pytest.mark.usefixtures("zeus")
def test_a_cpu_needs_readable_counters(rapl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = no_meter(CPU)
    assert reason is not None and "shows no RAPL counters" in reason
    counter = rapl / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("1")
    assert no_meter(CPU) is None
    monkeypatch.setattr(energy.os, "access", lambda *_: False)
    reason = no_meter(CPU)
    assert reason is not None and "for the administrator only" in reason
    monkeypatch.setenv("ZEUSD_SOCK_PATH", "/run/zeusd.sock")
    assert no_meter(CPU) is None, "the daemon reads them"


@pytest.mark.usefixtures("zeus")
def test_a_gpu_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = ModuleType("pynvml")

    class NVMLError(Exception): ...

    def refuse() -> None:
        raise NVMLError("driver not loaded")

    nvml.NVMLError, nvml.nvmlInit, nvml.nvmlShutdown = NVMLError, lambda: None, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert no_meter(torch.device("cuda")) is None
    nvml.nvmlInit = refuse  # type: ignore[attr-defined]
    assert no_meter(torch.device("cuda")) == "no energy meter: NVML cannot be read (driver not loaded)"


@pytest.mark.cuda
def test_on_a_gpu_an_image_costs_something(tiny_cell: MakeCell, context: Context) -> None:
    cell = tiny_cell(device="cuda", size="512x512", options={"windows": 1, "shared": True})
    if (reason := energy.missing(cell)) is not None:
        pytest.skip(reason)
    assert energy.measure(cell, context).samples[0] > 0

"""Joules per image of the whole pass, measured by zeus: what the pass adds to an idle device.

On a GPU its energy counter is read (NVML), on a CPU the packages' (RAPL). The idle power is measured in the same
process, after the warm-up and with everything in place, is subtracted, and is stated beside.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from effbench.errors import InputError
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, segmenter
from effbench.probes.clocks import HostClock, Run
from effbench.probes.warm_up import warm_up
from effbench.probes.whole_pass import end_to_end, random_images
from effbench.study.cell import Cell

NAME = "energy"
VERSION = "1"
INSIDE = "one pass from images to the answers of the three tasks, per image, idle power subtracted"

LEAST_S, WINDOWS = 5.0, 3
RAPL = Path("/sys/class/powercap")


class Meter(Protocol):
    """Counts energy."""

    def begin(self) -> None: ...

    def end(self) -> float:
        """Joules since `begin`."""


class ZeusMeter:
    """zeus on one GPU, or on all packages of the CPU."""

    def __init__(self, device: torch.device) -> None:
        from zeus.monitor import ZeusMonitor

        self.cuda = device.type == "cuda"
        self.monitor = ZeusMonitor(
            gpu_indices=[device.index or 0] if self.cuda else [], cpu_indices=[] if self.cuda else None
        )

    def begin(self) -> None:
        self.monitor.begin_window(NAME)

    def end(self) -> float:
        window = self.monitor.end_window(NAME)
        return float(sum((window.gpu_energy if self.cuda else window.cpu_energy).values()))


def missing(cell: Cell) -> str | None:
    """Why nothing can be timed here, or why there is no meter."""
    return conditions.missing(cell) or no_meter(torch.device(cell.device))


def no_meter(device: torch.device) -> str | None:
    """Why the device's energy cannot be read, or None."""
    if device.type == "cuda":
        return _no_zeus() or _no_nvml()
    counters = list(RAPL.glob("intel-rapl:*/energy_uj"))  # AMD's are called so, too
    if not counters:
        return f"no energy meter: this CPU shows no RAPL counters in {RAPL}"
    if "ZEUSD_SOCK_PATH" not in os.environ and not all(os.access(counter, os.R_OK) for counter in counters):
        return (
            f"no energy meter: RAPL counters in {RAPL} are for the administrator only; "
            "run as root, or start zeusd and set ZEUSD_SOCK_PATH"
        )
    return _no_zeus()


def _no_zeus() -> str | None:
    if importlib.util.find_spec("zeus") is not None:
        return None
    return "no energy meter: zeus is not installed; give python -m pip install zeus in effbench's environment"


def _no_nvml() -> str | None:
    pynvml: Any = importlib.import_module("pynvml")  # zeus brings it
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return f"no energy meter: NVML cannot be read ({error})"
    pynvml.nvmlShutdown()
    return None


def measure(cell: Cell, context: Context) -> Measurement:
    """Joules per image, one sample per window, on random images of `cell.size` "HxW".

    `options["seconds"]` (5, and no less) is the least length of a window, `options["windows"]` (3) their number.
    """
    seconds, windows = cell.options.get("seconds", LEAST_S), cell.options.get("windows", WINDOWS)
    if seconds < LEAST_S:
        raise InputError(f"seconds={seconds:g}; expected at least {LEAST_S:g}, counters are read a few times a second")
    how = conditions.plain_conditions(cell, NAME)
    torch.manual_seed(0)
    with how.applied(), torch.inference_mode():
        model = segmenter(cell).eval()
        images = random_images(cell)
        timer = HostClock(how.device)

        def once() -> float:
            return timer.time(lambda: end_to_end(model, images)).host

        warm = warm_up(once, cell.options.get("warm_up_s", 0.0))
        meter: Meter = ZeusMeter(how.device)
        idle = idle_power(meter, seconds)
        found = []
        for i in range(windows):
            found.append(window(meter, once, cell.batch, seconds))
            context.report(done=i + 1, total=windows)
    detail = {
        "inside": INSIDE,
        "conditions": how.to_json(),
        "meter": "zeus, NVML" if how.device.type == "cuda" else "zeus, RAPL packages",
        "idle_w": idle,
        "windows": found,
        "warm_up": list(warm.times),
        "warm_up_flat": warm.flat,
    }
    samples = [(w["joules"] - idle * w["seconds"]) / w["images"] for w in found]
    return Measurement(samples, "J", detail, model.encoder.implementation())


def idle_power(meter: Meter, seconds: float) -> float:
    """Watts while this process does nothing."""
    begin = time.perf_counter()
    meter.begin()
    time.sleep(seconds)
    joules = meter.end()
    return joules / (time.perf_counter() - begin)


def window(meter: Meter, once: Run, batch: int, seconds: float) -> dict[str, Any]:
    """Joules, seconds and images of passes, one after another, for at least `seconds`."""
    images, begin = 0, time.perf_counter()
    meter.begin()
    while time.perf_counter() - begin < seconds:
        once()
        images += batch
    joules = meter.end()
    return {"joules": joules, "seconds": time.perf_counter() - begin, "images": images}

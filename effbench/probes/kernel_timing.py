"""Clocks for one operator: from cold caches, from warm ones, and as a CUDA graph; and what a copy attains beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch

from effbench.errors import InputError
from effbench.peers import own
from effbench.probes import roofline
from effbench.probes.clocks import Clock, CudaClock, HostClock, Run, Sample, clock
from effbench.probes.modes import capture
from effbench.probes.warm_up import warm_up

TEMPERATURES = ("hot", "cold", "graph")
CALLS = 10
"""In one CUDA graph, so that the events around a short kernel weigh little."""
FLUSHED = 2**28
"""Bytes written between runs that shall find cold caches: more than any cache holds."""
ROW_SUMS, ROWS_OF_A_SUM = 2**17, 48
"""About as many as heads of queries on an image of COCO, and pixels that one of them reads."""
NEAR = 64
"""Rows that the sums of one program share: 8 KiB of float32, so that those of all that run on one multiprocessor stay
in its own cache."""

_AHEAD = 1.5


class Cold:
    """Another clock's times of runs that find nothing in the caches: a large buffer is written before each."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.own = device, clock(device)
        self.buffer = torch.empty(FLUSHED, dtype=torch.uint8, device=device)

    def time(self, run: Run) -> Sample:
        """One run by the host's clock, and on CUDA another by the device's, launched while the device is kept busy."""
        self.buffer.zero_()
        host = HostClock(self.device).time(run)
        if not isinstance(self.own, CudaClock):
            return host
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int(_AHEAD * host.host * self.own.cycles_per_second))
        self.buffer.zero_()
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize(self.device)
        return Sample(host.at, host.host, begin.elapsed_time(end) / 1000)


class Replayed:
    """The device's clock of `CALLS` runs in one CUDA graph, as times of one run."""

    def __init__(self, device: torch.device) -> None:
        self.own = clock(device)
        self.replays: dict[int, Run] = {}

    def time(self, run: Run) -> Sample:
        """One replay; the graph is captured when a run is first met."""
        if id(run) not in self.replays:
            self.replays[id(run)] = capture(lambda: [run() for _ in range(CALLS)])
        sample = self.own.time(self.replays[id(run)])
        device = None if sample.device is None else sample.device / CALLS
        return Sample(sample.at, sample.host / CALLS, device)


def timer(temperature: str, device: torch.device) -> Clock:
    """The clock of a temperature of `TEMPERATURES`; InputError for another, and for graph on a CPU."""
    clocks: dict[str, Callable[[torch.device], Clock]] = {"hot": clock, "cold": Cold, "graph": Replayed}
    if temperature not in clocks:
        raise InputError(f"temperature {temperature!r}; expected one of {', '.join(TEMPERATURES)}")
    if temperature == "graph" and device.type != "cuda":
        raise InputError(f"temperature graph on {device}; expected a CUDA device, leave it out")
    return clocks[temperature](device)


def samples(run: Run, temperature: str, device: torch.device, wanted: int, least_s: float) -> list[Sample]:
    """`wanted` samples after a warm-up of at least `least_s` seconds. Raises RuntimeError where there is no graph."""
    chosen = timer(temperature, device)
    warm_up(lambda: chosen.time(run).host, least_s)
    return [chosen.time(run) for _ in range(wanted)]


@lru_cache(maxsize=8)
def copy_rate(device: torch.device, size: int | None = None) -> float:
    """Bytes per second, read and written, of a copy: of more than caches hold, or of `size` bytes again and again.

    Median; measured once in a process.
    """
    length = roofline.COPIED if size is None else size
    source = torch.ones(length, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * length / roofline.median_seconds(clock(device), lambda: target.copy_(source))


@lru_cache(maxsize=8)
def row_rates(device: torch.device, dtype: torch.dtype, channels: int, count: int) -> dict[str, float]:
    """Rows per second that our Triton kernels of nothing else attain on a table of `count` rows of `channels`.

    rows_near: gathered in `dtype` by neighbours that share `NEAR` rows, which the nearest cache holds. rows_far:
    gathered from anywhere in the table. rows_added: added to anywhere, in float32. Medians, measured once in a
    process; nothing on a CPU.
    """
    if device.type == "cpu":
        return {}
    gather, add, block = own.row_work()
    random = torch.Generator(device).manual_seed(0)
    width, sums = 1 << (channels - 1).bit_length(), ROW_SUMS // block * block
    table = torch.randn(count, width, generator=random, device=device).to(dtype)
    far = torch.randint(count, (ROWS_OF_A_SUM, sums), generator=random, device=device, dtype=torch.int32)
    first = torch.arange(sums, device=device, dtype=torch.int32) // block * NEAR
    near = (first + far % NEAR) % count
    buffer = torch.zeros(count, width, device=device)
    clocked = clock(device)
    runs: dict[str, Run] = {
        "rows_near": lambda: gather(table, near),
        "rows_far": lambda: gather(table, far),
        "rows_added": lambda: add(buffer, far),
    }
    return {name: sums * ROWS_OF_A_SUM / roofline.median_seconds(clocked, run) for name, run in runs.items()}


def elapsed(began: float) -> float:
    """Seconds since `began`, a `time.perf_counter`."""
    return round(time.perf_counter() - began, 3)

"""Both clocks, on a simulated CUDA device: a stream that runs what the host launches, one after another."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from effbench.probes import clocks
from effbench.probes.clocks import CudaClock, HostClock, Sample, clock, launch_bound, synchronisations

CUDA = torch.device("cuda", 0)
HERTZ = 1e9


class Stream:
    """Time of the host (`now`), and when the device will have done everything (`free`)."""

    def __init__(self) -> None:
        self.now, self.free = 0.0, 0.0

    def launch(self, host: float, device: float) -> None:
        self.now += host
        self.free = max(self.free, self.now) + device

    def synchronize(self, *_: Any) -> None:
        self.now = max(self.now, self.free)

    def event(self, enable_timing: bool) -> Any:
        assert enable_timing
        stream = self

        class Event:
            at = 0.0

            def record(self) -> None:
                self.at = max(stream.free, stream.now)

            def elapsed_time(self, end: Event) -> float:
                return 1000 * (end.at - self.at)

        return Event()


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    simulated = Stream()
    monkeypatch.setattr(torch.cuda, "synchronize", simulated.synchronize)
    monkeypatch.setattr(torch.cuda, "Event", simulated.event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: simulated.launch(0, cycles / HERTZ))
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: simulated.now)
    return simulated


def kernels(stream: Stream, count: int, host: float, device: float) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            stream.launch(host, device)

    return run


def test_a_cpu_has_the_hosts_clock_only() -> None:
    sample = clock(torch.device("cpu")).time(lambda: time.sleep(0.01))
    assert 0.01 <= sample.host < 1
    assert sample.device is None
    assert launch_bound(sample.host, sample.device) is None


def test_work_that_is_launched_slower_than_it_runs_is_launch_bound(stream: Stream) -> None:
    sample = CudaClock(CUDA).time(kernels(stream, 100, host=10e-6, device=2e-6))
    assert sample.host == pytest.approx(1002e-6)
    assert sample.device == pytest.approx(200e-6), "without the gaps in which the device waits for the host"
    assert launch_bound(sample.host, sample.device) is True


def test_work_that_runs_longer_than_it_is_launched_is_not(stream: Stream) -> None:
    sample = CudaClock(CUDA).time(kernels(stream, 100, host=2e-6, device=10e-6))
    assert sample.host == pytest.approx(1002e-6)
    assert sample.device == pytest.approx(1000e-6)
    assert launch_bound(sample.host, sample.device) is False


def test_work_before_a_sample_is_not_in_it(stream: Stream) -> None:
    timer = CudaClock(CUDA)
    stream.launch(0, 5.0)
    sample = timer.time(kernels(stream, 1, host=1e-6, device=1e-3))
    assert sample.host == pytest.approx(1e-3, rel=0.01)
    assert sample.device == pytest.approx(1e-3, rel=0.01)


def test_the_hosts_clock_waits_for_the_device(stream: Stream) -> None:
    stream.launch(0, 5.0)
    assert HostClock(CUDA).time(kernels(stream, 1, host=1e-6, device=1e-3)).host == pytest.approx(1.001e-3)


def test_a_run_takes_its_place_in_time(stream: Stream) -> None:
    timer = CudaClock(CUDA)
    begun = stream.now
    assert timer.time(kernels(stream, 1, 1.0, 1.0)) == Sample(begun, pytest.approx(2.0), pytest.approx(1.0))


def test_waits_for_the_device_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def run() -> None:
        for text in ("called a synchronizing CUDA operation", "called a synchronizing CUDA operation", "other"):
            warnings.warn(text, UserWarning, stacklevel=1)

    assert synchronisations(run, CUDA) == 2
    assert modes == ["warn", "default"]
    assert synchronisations(run, torch.device("cpu")) is None


@pytest.mark.cuda
def test_on_a_gpu_a_kernel_takes_its_time_by_both_clocks() -> None:
    timer = clock(torch.device("cuda"))
    assert isinstance(timer, CudaClock)
    cycles = int(0.02 * timer.cycles_per_second)
    sample = timer.time(lambda: torch.cuda._sleep(cycles))
    assert sample.device == pytest.approx(0.02, rel=0.1)
    assert sample.host == pytest.approx(0.02, rel=0.2)


@pytest.mark.cuda
def test_on_a_gpu_many_small_kernels_are_launch_bound_and_waits_are_seen() -> None:
    x = torch.ones(8, device="cuda")

    def run() -> None:
        for _ in range(300):
            x.add_(1)

    timer = clock(torch.device("cuda"))
    for _ in range(3):
        sample = timer.time(run)
    assert launch_bound(sample.host, sample.device)
    assert synchronisations(run, torch.device("cuda")) == 0
    assert synchronisations(lambda: x.sum().item(), torch.device("cuda")) == 1

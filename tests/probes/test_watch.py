"""A record says by itself whether its samples are to be believed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from effbench.probes import watch
from effbench.probes.clocks import Sample
from effbench.probes.conditions import Conditions, conditions
from effbench.probes.neighbours import processes
from effbench.probes.watch import Watch
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
Canaries = Callable[[float, float], None]


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> Canaries:
    """Sets the canary's time before and after."""

    def set_to(before: float, after: float) -> None:
        times: Iterator[float] = iter([before, after])
        monkeypatch.setattr(watch, "canary_times", lambda _: [next(times)] * 11)

    return set_to


@pytest.fixture
def on_gpu(tiny_cell: MakeCell) -> Callable[..., Conditions]:
    return lambda **options: conditions(tiny_cell(device="cuda", options=options))


def watched(how: Conditions, before: set[int]) -> dict[str, Any]:
    with Watch(how, before) as seen:
        sample = Sample(time.perf_counter(), 0.1)
    return seen.to_json([sample])


def test_what_was_watched_is_in_the_record(tiny_cell: MakeCell, canaries: Canaries) -> None:
    canaries(1.0, 1.01)
    detail = watched(conditions(tiny_cell()), set())
    assert detail["conditions"]["device"] == "cpu"
    assert 0 <= detail["at"][0] < 1
    assert detail["canary"]["moved"] == pytest.approx(0.01)
    assert detail["load"]["load_average"] >= 0
    assert detail["trace"] is None and detail["throttled"] == [] and detail["other_processes"] == 0
    assert detail["unsteady"] is None and "invalid" not in detail


def test_a_cpu_that_changed_is_flagged(tiny_cell: MakeCell, canaries: Canaries) -> None:
    canaries(1.0, 2.0)
    detail = watched(conditions(tiny_cell()), set())
    assert "the canary moved by +100.0%" in detail["unsteady"]
    assert "invalid" not in detail


def test_a_gpu_that_changed_makes_the_record_invalid(
    on_gpu: Callable[..., Conditions], canaries: Canaries, fake_smi: Callable[[str], None]
) -> None:
    fake_smi("true")
    canaries(1.0, 1.03)
    assert "the canary moved by +3.0%" in watched(on_gpu(), set())["invalid"]
    canaries(1.0, 1.01)
    assert "invalid" not in watched(on_gpu(), set())


def test_processes_that_came_meanwhile_make_the_record_invalid(
    on_gpu: Callable[..., Conditions], canaries: Canaries, fake_smi: Callable[[str], None]
) -> None:
    fake_smi("echo 7; echo 4711; echo 4712")
    canaries(1.0, 1.0)
    detail = watched(on_gpu(), {7})
    assert detail["invalid"].startswith("2 other processes came to cuda meanwhile")
    canaries(1.0, 1.5)
    detail = watched(on_gpu(shared=True), {7})
    assert "invalid" not in detail
    assert "the canary moved by +50.0%" in detail["unsteady"], "a neighbour that was allowed for"
    assert detail["other_processes"] == 3


def test_a_failure_inside_is_not_covered_up(tiny_cell: MakeCell, canaries: Canaries) -> None:
    canaries(1.0, 1.0)
    with pytest.raises(ZeroDivisionError), Watch(conditions(tiny_cell()), set()):
        raise ZeroDivisionError


@pytest.mark.cuda
def test_on_a_gpu_a_quiet_second_is_valid(tiny_cell: MakeCell) -> None:
    how = conditions(tiny_cell(device="cuda"))
    before = processes(how.device)
    torch.ones(1, device="cuda")
    with Watch(how, before) as seen:
        time.sleep(1)
    detail = seen.to_json([])
    assert len(detail["trace"]["sm_mhz"]) >= 5

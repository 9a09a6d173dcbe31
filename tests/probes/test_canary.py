"""The canary says when the machine changed between two moments."""

from __future__ import annotations

import pytest
import torch

from effbench.probes.canary import LIMIT, RUNS, Canary, canary_times

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_gpu_may_move_by_two_percent() -> None:
    still = Canary.between([1.0] * 11, [1.019] * 11, CUDA)
    assert still.unsteady is None
    moved = Canary.between([1.0] * 11, [1.03] * 11, CUDA)
    assert moved.moved == pytest.approx(0.03)
    assert moved.unsteady is not None
    assert "the canary moved by +3.0%, at most 2% is allowed" in moved.unsteady
    assert Canary.between([1.0] * 11, [0.97] * 11, CUDA).unsteady is not None, "faster is another machine, too"


def test_a_single_slow_run_moves_no_median() -> None:
    assert Canary.between([1.0] * 11, [1.0] * 10 + [50.0], CUDA).moved == 0


def test_a_cpu_may_move_by_its_own_limit() -> None:
    limit = LIMIT["cpu"]
    assert Canary.between([1.0] * 11, [1 + 0.99 * limit] * 11, CPU).unsteady is None
    assert Canary.between([1.0] * 11, [1 + 1.01 * limit] * 11, CPU).unsteady is not None


@pytest.mark.usefixtures("quick_watch")
def test_all_its_runs_are_kept() -> None:
    times = canary_times(CPU)
    assert len(times) == RUNS
    assert min(times) > 0
    kept = Canary.between(times, times, CPU).to_json()
    assert kept == {"before": times, "after": times, "moved": 0.0, "limit": LIMIT["cpu"]}


@pytest.mark.cuda
def test_on_a_gpu_it_runs_by_the_devices_clock() -> None:
    assert len(canary_times(CUDA)) == RUNS

"""Who else computes on the device, asked of an nvidia-smi that a test wrote."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import torch

from effbench.probes import neighbours
from effbench.probes.neighbours import CpuLoad, foreign, newcomers, processes, smi_id

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_gpu_with_another_process_is_refused(fake_smi: Callable[[str], None]) -> None:
    fake_smi(f"echo {os.getpid()}; echo 4711; echo 12")
    assert processes(CUDA) == {os.getpid(), 4711, 12}
    reason = foreign(CUDA)
    assert reason is not None
    assert "(12, 4711); end them, or set the option shared" in reason


def test_a_gpu_to_oneself_is_not(fake_smi: Callable[[str], None]) -> None:
    fake_smi(f"echo {os.getpid()}")
    assert foreign(CUDA) is None


def test_the_question_is_about_the_cells_gpu(fake_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi('for word in "$@"; do [ "$last" = -i ] && [ "$word" = 5 ] && echo 4711; last=$word; done; true')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert processes(torch.device("cuda", 1)) == {4711}
    assert processes(torch.device("cuda", 0)) == set()


@pytest.mark.parametrize(
    ("visible", "device", "named"),
    [("", "cuda:1", "1"), ("", "cuda", "0"), ("2,7", "cuda:1", "7"), ("GPU-6a, GPU-7b", "cuda:1", "GPU-7b")],
)
def test_a_gpu_is_named_as_the_driver_names_it(
    visible: str, device: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert smi_id(torch.device(device)) == named


def test_without_a_gpu_nobody_is_asked(fake_smi: Callable[[str], None]) -> None:
    fake_smi("echo 4711")
    assert processes(CPU) == set()
    assert foreign(CPU) is None


def test_newcomers_are_all_but_this_process() -> None:
    own = os.getpid()
    assert newcomers({7}, {7, own}) == set()
    assert newcomers({7}, {7, own, 8}) == {8}
    assert newcomers(set(), {100_001}) == set(), "this process under a number that it does not know, in a container"
    assert newcomers(set(), {100_001, 100_002}) == {100_001, 100_002}
    assert newcomers({7}, set()) == set()


def test_the_load_leaves_out_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(
        [
            neighbours._Ticks(wall=10.0, own=1.0, busy=100.0, stolen=2.0),
            neighbours._Ticks(wall=14.0, own=4.0, busy=109.0, stolen=3.0),
        ]
    )
    monkeypatch.setattr(neighbours, "_ticks", lambda: next(ticks))
    load = CpuLoad().to_json()
    assert load["other_cores"] == pytest.approx((9 - 3) / 4)
    assert load["stolen_cores"] == pytest.approx(0.25)


def test_the_load_of_this_machine() -> None:
    load = CpuLoad()
    until = time.perf_counter() + 0.1
    while time.perf_counter() < until:
        pass
    measured = load.to_json()
    assert measured["load_average"] is not None
    others = measured["other_cores"]
    assert (others is None) != neighbours._STAT.exists()
    assert others is None or 0 <= others <= (os.cpu_count() or 1) + 1

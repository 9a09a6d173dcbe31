"""The operator's probe: right first, then every sample kept; what is wrong or not to be had says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.errors import InputError
from effbench.peers import registry
from effbench.peers.contract import Case, Implementation, Peer
from effbench.peers.own import exact
from effbench.probes import kernel, kernel_timing
from effbench.probes.base import Context
from effbench.probes.clocks import Run, Sample
from effbench.study.cell import Cell

pytestmark = pytest.mark.usefixtures("quick_watch", "small_ceilings")
ROOT = Path(__file__).parents[2]

MakeCell = Callable[..., Cell]
OPTIONS = {
    "implementation": "reference",
    "op": "plain",
    "direction": "forward",
    "locations": "realistic",
    "temperatures": ("hot",),
    "samples": 5,
    "checked": 64,
}
Make = Callable[..., Cell]


@pytest.fixture
def make(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A cell of an image of 64 x 96 pixels, 4 heads of 8 channels, with what a test changes about its options."""
    monkeypatch.setattr(kernel_timing, "FLUSHED", 2**16)
    kernel_timing.copy_rate.cache_clear()

    def cell(dtype: str = "float32", batch: int = 1, queries: int = 126, device: str = "cpu", **options: Any) -> Cell:
        return tiny_cell(
            encoder="mask2former",
            width={"dim": 32, "heads": 4},
            size="64x96",
            queries=queries,
            batch=batch,
            dtype=dtype,
            device=device,
            options={**OPTIONS, **options},
        )

    return cell


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Peer], None]:
    """Adds a peer."""
    known = registry.peers()
    monkeypatch.setattr(registry, "peers", lambda: known)
    return known.__setitem__


@pytest.mark.parametrize("op", kernel.OPERATORS)
@pytest.mark.parametrize("direction", kernel.DIRECTIONS)
@pytest.mark.parametrize("name", ["reference", "cpu", "transformers"])
def test_every_direction_of_both_operators_is_checked_and_timed(
    make: Make, context: Context, name: str, direction: str, op: str
) -> None:
    cell = make(implementation=name, direction=direction, op=op, temperatures=("cold", "hot"))
    assert kernel.missing(cell) is None
    measured = kernel.measure(cell, context)
    detail = measured.detail
    assert "invalid" not in detail
    assert measured.unit == "s" and measured.implementation == {"ms_deform_attn": name}
    assert measured.samples == detail["times"]["cold"]["host"]
    assert {len(found["host"]) for found in detail["times"].values()} == {5} and min(measured.samples) > 0
    assert len(detail["at"]) == 10, "of both temperatures"
    assert detail["scope"] == ("chain" if (name, op) == ("transformers", "fused") else op)
    assert len(detail["accuracy"]) == (1 if direction == "forward" else 4)
    assert detail["calls"] == {"B": 1, "S": 126, "M": 4, "D": 8, "Q": 126, "L": 3, "P": 4}
    assert min(detail["ceilings"].values()) > 0 and (detail["version"] is None) == (name != "transformers")
    json.dumps(detail, allow_nan=False)


def test_how_many_cells_went_before_is_said(make: Make, context: Context) -> None:
    first, second = (kernel.measure(make(), context).detail["cells_before"] for _ in range(2))
    assert second == first + 1


def doubled(*arguments: Any) -> Tensor:
    return exact(*arguments).to(arguments[0].dtype) * 2


def test_a_wrong_one_is_invalid_with_its_figures_and_not_timed(
    make: Make, context: Context, planted: Callable[[str, Peer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted("doubled", Peer(lambda: Implementation(doubled)))
    monkeypatch.setattr(kernel, "samples", lambda *_: pytest.fail("it was timed"))
    measured = kernel.measure(make(implementation="doubled"), context)
    assert measured.samples == [] and "times" not in measured.detail
    assert measured.detail["invalid"].startswith("wrong, and not timed")
    found = measured.detail["accuracy"]["output"]
    assert not found["right"] and found["error"] > 0.5 > found["tolerance"]


def test_one_that_raises_is_a_failure_and_no_time(
    make: Make, context: Context, planted: Callable[[str, Peer], None]
) -> None:
    def broken(*_: Any) -> Tensor:
        raise RuntimeError("no kernel image is available")

    planted("broken", Peer(lambda: Implementation(broken)))
    with pytest.raises(RuntimeError, match="no kernel image is available"):
        kernel.measure(make(implementation="broken"), context)


def test_what_is_missing_is_said_without_loading_it(make: Make, planted: Callable[[str, Peer], None]) -> None:
    def load() -> Implementation:
        pytest.fail("it was loaded")

    asked: list[Case] = []

    def refuses(case: Case) -> str:
        asked.append(case)
        return "it has no such thing"

    planted("absent", Peer(load, absent=lambda: "absent is not installed"))
    planted("picky", Peer(load, refuses=refuses))
    assert kernel.missing(make(implementation="absent")) == "absent is not installed"
    cell = make(implementation="picky", op="fused", direction="both", dtype="bfloat16", batch=2, queries=7)
    assert kernel.missing(cell) == "it has no such thing"
    assert asked == [Case("cpu", torch.bfloat16, 2, 126, 4, 8, 7, 3, 4, True, True)]
    assert "Triton needs a CUDA device" in str(kernel.missing(make(implementation="triton")))
    on_cuda = kernel.missing(make(implementation="triton", device="cuda"))
    assert torch.cuda.is_available() or "this machine has no CUDA device" in str(on_cuda)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"op": "other"}, "op 'other'; expected one of plain, fused"),
        ({"direction": "up"}, "direction 'up'; expected one of forward, backward, both"),
        ({"temperatures": ()}, "temperatures .*; expected some of hot, cold, graph"),
        ({"temperatures": ("graph", "hot")}, "graph not first"),
        ({"implementation": "mine"}, "no kernel is called 'mine'; expected one of reference, cpu, triton"),
    ],
)
def test_options_that_do_not_exist_are_refused(make: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kernel.missing(make(**options))


def test_a_graph_needs_a_gpu(make: Make, context: Context) -> None:
    with pytest.raises(InputError, match="temperature graph on cpu; expected a CUDA device"):
        kernel.measure(make(temperatures=("hot", "graph")), context)


def test_what_takes_logits_has_no_plain_operator(planted: Callable[[str, Peer], None]) -> None:
    with pytest.raises(InputError, match="no plain operator; expected op fused"):
        kernel.call_of(Implementation(fused=doubled), fused=False)


# --- as on a GPU -----------------------------------------------------------------------------------------------------


class TwoClocks:
    """A device that needs 50 ms where the host sees 80."""

    def time(self, run: Run) -> Sample:
        run()
        return Sample(time.perf_counter(), 0.08, 0.05)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Two clocks and graphs, on the CPU: the runs that were captured."""
    captured: list[Run] = []

    def capture(run: Run) -> Run:
        captured.append(run)
        return run

    timer = kernel_timing.timer
    monkeypatch.setattr(kernel_timing, "clock", lambda _: TwoClocks())
    monkeypatch.setattr(kernel_timing, "capture", capture)
    monkeypatch.setattr(kernel_timing, "timer", lambda name, _: timer(name, torch.device("cuda")))
    return captured


def test_the_devices_time_is_meant_and_a_graph_is_many_calls(
    make: Make, context: Context, as_on_a_gpu: list[Run]
) -> None:
    measured = kernel.measure(make(temperatures=("hot", "graph"), direction="both"), context)
    assert measured.samples == [0.05] * 5
    graph = measured.detail["times"]["graph"]
    assert graph["device"] == [0.05 / kernel_timing.CALLS] * 5 and graph["host"] == [0.08 / kernel_timing.CALLS] * 5
    (run,) = as_on_a_gpu
    assert len(run()) == kernel_timing.CALLS


def test_why_there_is_no_graph_is_said(
    make: Make, context: Context, as_on_a_gpu: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(kernel_timing, "capture", refuse)
    times = kernel.measure(make(temperatures=("hot", "graph")), context).detail["times"]
    assert times["graph"] == {"failed": "RuntimeError: operation not permitted when stream is capturing"}
    assert len(times["hot"]["device"]) == 5


def test_cold_caches_are_made_before_each_run() -> None:
    clock = kernel_timing.Cold(torch.device("cpu"))
    clock.buffer.fill_(1)
    seen: list[int] = []
    clock.time(lambda: seen.append(int(clock.buffer.sum())))
    assert seen == [0]


def test_our_triton_kernels_pass_the_check_in_the_interpreter() -> None:
    """Both operators with their backward, through the probe's own check, at a size that the interpreter can do."""
    code = """
import torch
from effbench.peers.registry import find
from effbench.probes.kernel_check import check, verdict
from effbench.probes.kernel_inputs import Problem
of = Problem(((1, 2), (2, 3), (4, 6)), 2, 2, 8, 2, 32, "initial", torch.float32, "cpu")
peer = find("triton")
for fused in (False, True):
    assert peer.refuses(of.case(fused, True)) is None
    found = check(peer.load()[fused], of, fused, True, 32)
    print(verdict(found), len(found))
"""
    variables = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["None 4", "None 4"], done.stderr


@pytest.mark.cuda
@pytest.mark.parametrize("op", kernel.OPERATORS)
@pytest.mark.parametrize("name", ["triton", "reference", "transformers"])
@pytest.mark.parametrize("direction", ["forward", "both"])
def test_on_a_gpu_all_temperatures_are_timed(make: Make, context: Context, name: str, op: str, direction: str) -> None:
    cell = make(implementation=name, op=op, direction=direction, device="cuda", temperatures=("hot", "cold", "graph"))
    cell = replace(cell, options={**cell.options, "shared": True})
    detail = kernel.measure(cell, context).detail
    assert "invalid" not in detail
    assert all(len(found["device"]) == len(found["host"]) == 5 for found in detail["times"].values())

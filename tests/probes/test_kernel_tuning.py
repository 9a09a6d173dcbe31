"""Tuning: every candidate is tried with the table as it was afterwards, and a wrong or failing one says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.errors import InputError
from effbench.kernels.ms_deform_attn import triton_launch
from effbench.peers import own
from effbench.peers.contract import Implementation, Peer
from effbench.probes import kernel_tuning
from effbench.probes.clocks import Sample
from effbench.probes.kernel_inputs import Problem

SMALL = Problem(((1, 2), (2, 3), (4, 6)), 1, 2, 32, 4, 32, "realistic", torch.float32, "cpu")
FORWARD, BACKWARD = (triton_launch.Key(kernel, 4, 32, 4) for kernel in ("forward", "backward"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Tensor]], None]:
    """Puts a function in the place of our Triton kernels; a time is a hundredth of the queries per program."""

    def put(run: Callable[..., Tensor]) -> None:
        def samples(_: Any, temperature: str, *__: Any) -> list[Sample]:
            (configuration,) = (triton_launch.TABLE[key] for key in (FORWARD, BACKWARD) if key in triton_launch.TABLE)
            seconds = configuration.queries / 100
            return [Sample(0.0, seconds + (temperature == "cold"))] * 3

        monkeypatch.setattr(kernel_tuning, "samples", samples)
        monkeypatch.setattr(own, "peers", lambda: {"triton": Peer(lambda: Implementation(fused=run))})

    return put


def test_every_candidate_is_tried_and_the_table_is_left_alone(fake: Callable[..., None]) -> None:
    before = dict(triton_launch.TABLE)
    used: list[triton_launch.Config] = []

    def run(*arguments: Any) -> Tensor:
        used.append(triton_launch.TABLE[FORWARD])
        return own.exact(*arguments).float()

    fake(run)
    tried = list(kernel_tuning.tune(SMALL, "forward"))
    candidates = triton_launch.candidates(FORWARD)
    assert [one.configuration for one in tried] == candidates and len(candidates) > 3
    assert list(dict.fromkeys(used)) == candidates
    assert [one.hot for one in tried] == [one.queries / 100 for one in candidates]
    assert all(one.cold == one.hot + 1 for one in tried if one.hot is not None)
    assert before == triton_launch.TABLE


def test_a_wrong_or_failing_candidate_says_so_and_has_no_time(fake: Callable[..., None]) -> None:
    before = dict(triton_launch.TABLE)

    def run(*arguments: Any) -> Tensor:
        if triton_launch.TABLE[BACKWARD].warps == 8:
            raise RuntimeError("out of resource: shared memory\nand more")
        factor = 2 if triton_launch.TABLE[BACKWARD].warps == 1 else 1
        return own.exact(*arguments).float() * factor

    fake(run)
    tried = list(kernel_tuning.tune(SMALL, "backward"))
    assert {one.configuration.warps for one in tried} == {1, 2, 4, 8}
    for one in tried:
        if one.configuration.warps == 8:
            assert one.cold is None and one.reason == "RuntimeError: out of resource: shared memory"
        elif one.configuration.warps == 1:
            assert one.cold is None and str(one.reason).startswith("wrong, and not timed")
        else:
            assert one.cold is not None and one.reason is None
    assert before == triton_launch.TABLE


def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(InputError, match=r"tuning: .*Triton needs a CUDA device"):
        list(kernel_tuning.tune(SMALL, "forward"))


def test_all_are_printed_the_fastest_first(fake: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    fake(lambda *arguments: own.exact(*arguments).float())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_tuning, "COCO", SMALL.shapes)
        kernel_tuning.main(["--dtype", "float32", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["float32, D=32, forward:", "float32, D=32, backward:"]
    assert lines[1].startswith("  Config(tile=(2, 4), warps=") and "1080000.0 us cold, 80000.0 us hot" in lines[1]


def test_the_problem_is_the_encoders_call_on_coco() -> None:
    of = kernel_tuning.problem_of(torch.float16, 64, "cpu")
    assert (of.M * of.D, of.Q, of.encoder) == (256, 21950, True)

"""The axes of a timed cell are checked before it runs, and TF32 is what the cell says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from effbench.errors import InputError
from effbench.probes import conditions as module
from effbench.probes.conditions import conditions, missing, plain_conditions
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
FORM = {"channels_last": True, "fixed_size": True}


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def test_a_cell_runs_in_full_precision_and_eagerly_unless_it_says_otherwise(tiny_cell: MakeCell) -> None:
    assert conditions(tiny_cell()).to_json() == {
        "device": "cpu",
        "dtype": "float32",
        "batch": 1,
        "tf32": False,
        "mode": "eager",
        "channels_last": False,
        "fixed_size": False,
    }
    assert conditions(tiny_cell()).plain
    cell = tiny_cell(device="cuda:1", batch=4, options={"tf32": True, "mode": "graph", **FORM})
    assert conditions(cell).to_json() == {
        "device": "cuda:1",
        "dtype": "float32",
        "batch": 4,
        "tf32": True,
        "mode": "graph",
        "channels_last": True,
        "fixed_size": True,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "dtype 'int8'; expected one of float32, bfloat16, float16"),
        ({"options": {"mode": "fast"}}, "mode 'fast'; expected one of 'eager', 'compile', 'graph', 'compile, graph'"),
        ({"options": {"tf32": True}}, "tf32 with float32 on cpu; expected float32 on a CUDA device"),
        ({"device": "cuda", "dtype": "bfloat16", "options": {"tf32": True}}, "tf32 with bfloat16 on cuda"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str, tiny_cell: MakeCell) -> None:
    with pytest.raises(InputError, match=message):
        conditions(tiny_cell(**changes))


@pytest.mark.parametrize("unusual", [{"mode": "compile"}, {"channels_last": True}, {"fixed_size": True}])
def test_a_probe_that_knows_no_form_refuses_it(unusual: dict[str, Any], tiny_cell: MakeCell) -> None:
    assert plain_conditions(tiny_cell(), "memory") == conditions(tiny_cell())
    assert not conditions(tiny_cell(options=unusual)).plain
    with pytest.raises(InputError, match=r"^memory in mode .*; expected 'eager' and neither"):
        plain_conditions(tiny_cell(options=unusual), "memory")


def test_a_graph_needs_a_gpu(tiny_cell: MakeCell) -> None:
    assert str(missing(tiny_cell(options={"mode": "compile, graph"}))).startswith("mode compile, graph needs a CUDA")
    reason = missing(tiny_cell(options={"mode": "graph"}))
    assert reason == "mode graph needs a CUDA device, and the cell runs on cpu"
    assert missing(tiny_cell()) is None


@pytest.mark.usefixtures("with_gpu")
def test_a_gpu_that_another_process_uses_is_left_alone(tiny_cell: MakeCell, fake_smi: Callable[[str], None]) -> None:
    fake_smi("echo 4711")
    reason = missing(tiny_cell(device="cuda"))
    assert reason is not None
    assert reason.startswith("other processes compute on cuda (4711)")
    assert missing(tiny_cell(device="cuda", options={"shared": True})) is None
    assert missing(tiny_cell()) is None, "a CPU is always shared"
    fake_smi(f"echo {os.getpid()}")
    assert missing(tiny_cell(device="cuda")) is None


@pytest.fixture(params=[True, False], ids=["torch 2.9 and later", "before"])
def switches(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], tuple[Any, ...]]]:
    """The switches of either generation, apart from torch's own."""

    class Switches:
        fp32_precision = "none"
        allow_tf32 = True

    products, cudnn = Switches(), Switches()
    if request.param:
        cudnn.conv = Switches()  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.backends.cuda, "matmul", products)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    if request.param:
        yield lambda: (products.fp32_precision == "tf32", cudnn.conv.fp32_precision == "tf32")  # type: ignore[attr-defined]
        assert products.allow_tf32 and cudnn.allow_tf32, "the old switches were touched"
    else:
        yield lambda: (products.allow_tf32, cudnn.allow_tf32)


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_for_products_and_convolutions_and_for_the_time_being(
    tf32: bool, switches: Callable[[], tuple[Any, ...]], tiny_cell: MakeCell
) -> None:
    before = switches()
    with conditions(tiny_cell(device="cuda", options={"tf32": tf32})).applied():
        assert switches() == (tf32, tf32)
    assert switches() == before


def test_torchs_own_switches_are_put_back(tiny_cell: MakeCell) -> None:
    before = module._precisions()
    with conditions(tiny_cell(device="cuda", options={"tf32": True})).applied():
        assert module._precisions() == ("tf32", "tf32")
    assert module._precisions() == before


@pytest.mark.cuda
def test_on_a_gpu_tf32_rounds_and_ieee_does_not(tiny_cell: MakeCell) -> None:
    x = torch.full((64, 64), 1 + 2**-20, device="cuda")
    with conditions(tiny_cell(device="cuda", options={"tf32": True})).applied():
        assert (x @ torch.eye(64, device="cuda") != x).all()
    with conditions(tiny_cell(device="cuda")).applied():
        assert (x @ torch.eye(64, device="cuda") == x).all()

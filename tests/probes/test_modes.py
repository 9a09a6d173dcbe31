"""Eager, compiled and captured runs do the same work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from effbench.encoders.contract import Encoder, FeatureSpec, SettingError
from effbench.encoders.registry import build_encoder
from effbench.probes import modes
from effbench.probes.conditions import conditions
from effbench.probes.modes import as_run, capture, graph_breaks, in_form
from effbench.study.cell import Cell


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return 2 * x


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that torch.compile was given, which then run as they are."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return graphs


def test_an_eager_run_calls_the_module() -> None:
    module, x = Doubled(), torch.ones(2)
    run = as_run(module, x, "eager")
    assert module.calls == 0
    assert torch.equal(run(), 2 * x) and module.calls == 1


def test_a_compiled_run_compiles_the_module(compiled: list[Any]) -> None:
    before = graph_breaks()
    run = as_run(nn.ReLU(), torch.tensor([-1.0, 1.0]), "compile")
    assert compiled == []
    assert run().tolist() == [0, 1] and run().tolist() == [0, 1]
    assert len(compiled) == 1
    assert graph_breaks() == before


def test_what_cannot_be_compiled_in_one_graph_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))

    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x + 1
            torch._dynamo.graph_break()
            return y * 2

    before = graph_breaks()
    as_run(Broken(), torch.ones(2), "compile")()
    assert graph_breaks() == before + 1


def test_a_graph_is_captured_once_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of PyTorch's notes: warm up on a side stream, capture, then nothing but replays."""
    order: list[str] = []

    class Step:
        def __init__(self, name: str, *_: Any) -> None:
            self.name = name

        def wait_stream(self, other: Step) -> None:
            order.append(f"{self.name} waits for {other.name}")

        def replay(self) -> None:
            order.append("replay")

        def __enter__(self) -> None:
            order.append(f"enter {self.name}")

        def __exit__(self, *_: object) -> None:
            order.append(f"leave {self.name}")

    main = Step("main")
    monkeypatch.setattr(torch.cuda, "Stream", lambda: Step("side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: Step("graph"))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    replay = capture(lambda: order.append("run") or "result")
    captured = ["enter graph", "run", "leave graph"]
    warm = ["side waits for main", "enter side", *["run"] * modes._BEFORE_CAPTURE, "leave side", "main waits for side"]
    assert order == [*warm, *captured]
    assert replay() == replay() == "result"
    assert order == [*warm, *captured, "replay", "replay"]


@pytest.mark.cuda
def test_on_a_gpu_a_replay_computes_what_eager_does() -> None:
    layer, x = nn.Linear(8, 8).cuda(), torch.randn(4, 8, device="cuda")
    with torch.inference_mode():
        assert torch.allclose(as_run(layer, x, "graph")(), layer(x))


def test_every_module_of_one_class_is_compiled(compiled: list[Any]) -> None:
    """Past its limit of compilations PyTorch would run the rest eagerly."""
    number = torch._dynamo.config.recompile_limit + 3
    for width in range(1, number + 1):
        assert as_run(nn.Linear(width, 1), torch.ones(1, width), "compile")().shape == (1, 1)
    assert len(compiled) == number


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    specs = {f"res{i + 2}": FeatureSpec(8, 4 * 2**i) for i in range(4)}
    return build_encoder("mask2former", specs, layers=1, dim=32, mask_dim=32, heads=4, ffn_dim=32).eval()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fixed_size", [False, True])
def test_an_encoder_takes_the_form_that_is_asked_for(
    channels_last: bool, fixed_size: bool, encoder: Encoder, tiny_cell: Callable[..., Cell]
) -> None:
    maps = {f"res{i + 2}": torch.randn(1, 8, 16 // 2**i, 24 // 2**i) for i in range(4)}
    how = conditions(tiny_cell(options={"channels_last": channels_last, "fixed_size": fixed_size}))
    with torch.no_grad():
        given = encoder(maps)
        formed, inputs = in_form(encoder, maps, how, (64, 96))
        torch.testing.assert_close(formed(inputs).mask_features, given.mask_features, rtol=0, atol=1e-4)
    last = torch.channels_last
    assert inputs["res2"].is_contiguous(memory_format=last) == channels_last
    assert formed.get_parameter("layer_1.weight").is_contiguous(memory_format=last) == channels_last
    assert (formed is not encoder) == fixed_size
    if fixed_size:
        with pytest.raises(ValueError, match="in an encoder made for"):
            formed({name: x[..., :-1] for name, x in maps.items()})


def test_what_has_no_form_for_one_size_cannot_be_timed_in_it(tiny_cell: Callable[..., Cell]) -> None:
    specs = {f"res{i + 2}": FeatureSpec(8, 4 * 2**i) for i in range(4)}
    fpn = build_encoder("fpn", specs, dim=32, mask_dim=32)
    with pytest.raises(SettingError, match="has no form for one size"):
        in_form(fpn, {}, conditions(tiny_cell(options={"fixed_size": True})), (64, 96))

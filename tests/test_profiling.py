"""Times by module: a planted delay is found where it is, and every module once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.profiling import module_times

NARROW = {
    "dim": 64,
    "mask_dim": 64,
    "num_classes": 7,
    "num_queries": 5,
    "decoder_settings": {"dim": 64, "heads": 4, "ffn_dim": 64, "layers": 2},
}


@pytest.fixture
def model() -> Segmenter:
    return build_segmenter("fpn", "resnet_mini", **NARROW)


def test_a_delay_is_found_in_its_module(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = model.encoder.layer_2
    forward = type(layer).forward

    def slow(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        if self is layer:
            time.sleep(0.05)
        return forward(self, x)

    monkeypatch.setattr(type(layer), "forward", slow)
    times = {t.name: t for t in module_times(model, torch.rand(1, 3, 64, 64), passes=2, depth=2)}
    assert 0.05 <= times["encoder.layer_2"].host < 0.1
    assert times["encoder"].host >= times["encoder.layer_2"].host, "a module's time holds its children's"
    assert times["encoder.layer_3"].host < 0.03
    assert times["encoder.layer_2"].calls == 1 and times["encoder.layer_2"].kind == "ConvNorm"


def test_it_goes_as_deep_as_asked_and_leaves_the_model_as_it_was(model: Segmenter, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    names = [t.name for t in module_times(model, torch.rand(1, 3, 64, 64), 1, 1, trace)]
    assert sorted(names) == ["backbone", "decoder", "encoder"]
    assert any(event.get("name") == "module encoder" for event in json.loads(trace.read_text())["traceEvents"])
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_the_command_shows_the_longest_and_writes_a_trace(effbench: Callable, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    answer = effbench(
        "profile", "fpn", "--backbone", "resnet_mini", "--size", "64x64", "--passes", 1, "--rows", 3, "--trace", trace
    )
    assert answer.code == 0
    assert "host ms" in answer.out and str(trace) in answer.out
    assert answer.out.count("%") == 3
    assert trace.stat().st_size > 1000


def test_json_has_every_module(effbench: Callable) -> None:
    answer = effbench("profile", "fpn", "--backbone", "resnet_mini", "--size", "64x64", "--passes", 1, "--json")
    modules = {module["name"]: module for module in answer.last["modules"]}
    assert {"backbone", "encoder", "decoder", "encoder.mask_features"} <= modules.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--device", "tpu"), "device 'tpu'; expected one of cpu, cuda"), (("--size", "64"), "size '64', expected HxW")],
)
def test_what_cannot_be_profiled_is_refused(options: tuple[str, ...], message: str, refused: Callable) -> None:
    assert message in refused("profile", "fpn", *options)

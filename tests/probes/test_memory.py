"""Peak memory, counted by the allocator and split by component."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from effbench.encoders.fpn import FPNEncoder
from effbench.probes import memory
from effbench.probes.base import Context, segmenter
from effbench.probes.memory import peaks
from effbench.probes.whole_pass import COMPONENTS, random_images
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]


def test_every_component_has_its_peak(tiny_cell: MakeCell, context: Context) -> None:
    measured = memory.measure(tiny_cell(), context)
    detail = measured.detail
    assert set(detail["components"]) == set(COMPONENTS)
    assert measured.unit == "B" and measured.samples == [detail["components"]["encoder"]["own"]]
    assert detail["whole"] == max(peak["whole"] for peak in detail["components"].values())
    assert all(0 < peak["own"] <= peak["whole"] for peak in detail["components"].values())
    assert set(detail["weights"]) == {"backbone", "encoder", "decoder"}
    json.dumps(detail, allow_nan=False)


def test_it_is_the_same_every_time(tiny_cell: MakeCell, context: Context) -> None:
    first, again = (memory.measure(tiny_cell(), context) for _ in range(2))
    assert first.detail["components"] == again.detail["components"]


def test_what_a_component_keeps_for_a_moment_is_its_own(
    tiny_cell: MakeCell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte that the encoder asks for and gives back raises its peak and no other's."""
    forward, planted = FPNEncoder.forward, 32 * 2**20

    def greedy(self: Any, features: Any) -> Any:
        torch.empty(planted, dtype=torch.uint8).fill_(1)
        return forward(self, features)

    before = memory.measure(tiny_cell(), context).detail
    monkeypatch.setattr(FPNEncoder, "forward", greedy)
    after = memory.measure(tiny_cell(), context).detail
    assert after["components"]["encoder"]["own"] == planted
    assert after["whole"] == after["components"]["encoder"]["whole"]
    for name in COMPONENTS:
        if name != "encoder":
            assert after["components"][name] == before["components"][name]


def test_a_batch_of_two_takes_twice_as_much(tiny_cell: MakeCell, context: Context) -> None:
    one, two = (memory.measure(tiny_cell(size="128x128", batch=n), context).samples[0] for n in (1, 2))
    assert two == pytest.approx(2 * one, rel=0.05)


def test_peaks_of_a_profile() -> None:
    """100 live before the encoder, 50 more and 30 back, then 40 more inside, and 500 after it."""
    changes = [(1, 100), (11, 50), (12, -30), (13, 40), (30, 500)]
    events: list[dict[str, Any]] = [{"name": "[memory]", "ts": ts, "args": {"Bytes": size}} for ts, size in changes]
    events += [
        {"name": "encoder", "cat": "user_annotation", "ts": 10, "dur": 10},
        {"name": "encoder", "cat": "python_function", "ts": 0, "dur": 99},
        {"name": "aten::add", "cat": "cpu_op", "ts": 11, "dur": 1},
    ]
    assert peaks(events[::-1]) == {"encoder": {"own": 60, "whole": 160}}


class Allocator:
    """CUDA's statistics for a model that allocates by a script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.live = self.most = 1000
        self.reserved = self.most_reserved = 4096
        names = ("empty_cache", "memory_allocated", "memory_reserved", "reset_peak_memory_stats")
        for name in (*names, "max_memory_allocated", "max_memory_reserved"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def change(self, most: int, kept: int) -> None:
        self.most = max(self.most, self.live + most)
        self.reserved = self.most_reserved = max(self.reserved, self.live + most)
        self.live += kept

    def empty_cache(self) -> None: ...

    def memory_allocated(self, _: Any) -> int:
        return self.live

    def memory_reserved(self, _: Any) -> int:
        return self.reserved

    def reset_peak_memory_stats(self, _: Any) -> None:
        self.most, self.most_reserved = self.live, self.reserved

    def max_memory_allocated(self, _: Any) -> int:
        return self.most

    def max_memory_reserved(self, _: Any) -> int:
        return self.most_reserved


def test_on_cuda_the_caching_allocator_is_asked(tiny_cell: MakeCell, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = tiny_cell()
    model = segmenter(cell).eval()
    allocator = Allocator(monkeypatch)

    def allocates(part: nn.Module, most: int, kept: int) -> None:
        forward = part.forward

        def changed(*inputs: Any) -> Any:
            allocator.change(most, kept)
            return forward(*inputs)

        monkeypatch.setattr(part, "forward", changed)

    allocates(model.backbone, 600, 400)
    allocates(model.encoder, 5000, 300)
    allocates(model.decoder, 900, 50)
    with torch.inference_mode():
        found = memory._cuda(model, random_images(cell))
    assert found["components"]["backbone"] == {"own": 600, "whole": 600}
    assert found["components"]["encoder"] == {"own": 5000, "whole": 5400}, "the maps that it reads are live, too"
    assert found["components"]["decoder"] == {"own": 900, "whole": 1600}
    assert found["reserved"] == 1400 + 5000 - 4096


@pytest.mark.cuda
def test_on_a_gpu_every_component_has_its_peak(tiny_cell: MakeCell, context: Context) -> None:
    detail = memory.measure(tiny_cell(device="cuda", size="256x256"), context).detail
    assert set(detail["components"]) == set(COMPONENTS)
    assert all(0 < peak["own"] <= peak["whole"] for peak in detail["components"].values())
    assert detail["reserved"] >= 0

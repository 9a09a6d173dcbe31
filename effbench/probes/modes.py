"""A module's forward as a call without arguments: eager, compiled, as a CUDA graph, or both.

And an encoder in the form in which it is timed: its maps row by row or channels last, for any size or for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from effbench.encoders.contract import Encoder
from effbench.probes.clocks import Run
from effbench.probes.conditions import Conditions

_BEFORE_CAPTURE = 3
"""Runs on a side stream before a capture, as PyTorch's notes on CUDA graphs have it."""


def as_run(module: nn.Module, inputs: Any, mode: str) -> Run:
    """`module(inputs)` in a mode of `conditions.MODES`; a graph is captured here, compilation happens in the first run.

    Raises RuntimeError where the module cannot be captured: it waits for the device, for one.
    """
    if "compile" in mode:
        torch.compiler.reset()  # after a few compilations of one forward PyTorch would go on eagerly without a word
    call: Callable[[Any], Any] = torch.compile(module) if "compile" in mode else module
    return capture(lambda: call(inputs)) if "graph" in mode else lambda: call(inputs)


def in_form(
    encoder: Encoder, maps: Mapping[str, Tensor], how: Conditions, size: tuple[int, int]
) -> tuple[Encoder, Mapping[str, Tensor]]:
    """The encoder and its maps of an image of `size` (H, W), as the conditions have them.

    Raises SettingError for an encoder that has no form for one size.
    """
    if how.channels_last:
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        maps = {name: x.contiguous(memory_format=torch.channels_last) for name, x in maps.items()}
    return (encoder.at_size(*size) if how.fixed_size else encoder), maps


def capture(run: Run) -> Run:
    """The launches of `run` as one CUDA graph: a call that replays it on the same inputs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_BEFORE_CAPTURE):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def graph_breaks() -> int:
    """How many graph breaks torch.compile had in this process."""
    return sum(counters["graph_break"].values())

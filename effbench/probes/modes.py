"""A module's forward as a call without arguments: eager, compiled, or a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._dynamo.utils import counters

from effbench.probes.clocks import Run

_BEFORE_CAPTURE = 3
"""Runs on a side stream before a capture, as PyTorch's notes on CUDA graphs have it."""


def as_run(module: nn.Module, inputs: Any, mode: str) -> Run:
    """`module(inputs)` in a mode of `conditions.MODES`; a graph is captured here, compilation happens in the first run.

    Raises RuntimeError where the module cannot be captured: it waits for the device, for one.
    """
    if mode == "graph":
        return capture(lambda: module(inputs))
    call: Callable[[Any], Any] = torch.compile(module) if mode == "compile" else module
    return lambda: call(inputs)


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

"""Time of multi-scale deformable attention alone, by one implementation, after it has been found right.

A cell is the operator as its encoder calls it (heads, points, width) on an image of `cell.size`; what is in front of
the encoder and behind it plays no part. Cells of one process follow each other on the same inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from effbench.errors import InputError
from effbench.peers.contract import Implementation, chain
from effbench.peers.registry import find, version
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement
from effbench.probes.clocks import Run, Sample
from effbench.probes.kernel_check import check, to_json, verdict
from effbench.probes.kernel_inputs import Problem, bytes_moved, inputs, problem, rows_touched
from effbench.probes.kernel_timing import TEMPERATURES, copy_rate, elapsed, row_rates, samples
from effbench.probes.latency import by_clock
from effbench.probes.neighbours import processes
from effbench.probes.watch import Watch
from effbench.study.cell import Cell

NAME = "kernel"
VERSION = "2"
INSIDE = "one call of the operator, its derivative, or both"
DIRECTIONS = ("forward", "backward", "both")
OPERATORS = ("plain", "fused")

_before = 0
"""Cells that this process has measured before."""


def missing(cell: Cell) -> str | None:
    """Why the cell cannot be timed here: no device, no such package, or a call that the implementation refuses."""
    peer = find(cell.options["implementation"])
    fused, backward = _asked(cell)
    if reason := conditions.missing(cell) or peer.absent():
        return reason
    return peer.refuses(problem(cell).case(fused, backward))


def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds per call, by the first of `options["temperatures"]`; all of them are in the detail.

    Options besides those of `kernel_inputs.problem`: implementation (a peer's name), op ("plain": from locations and
    weights; "fused": from offsets and logits, by PyTorch around an implementation that is not fused), direction,
    samples, checked (queries of each image that float64 sees), warm_up_s (0), shared (see `conditions`).

    What is wrong is not timed: no samples, `invalid` in the detail with the figures.
    """
    global _before
    how, of, (fused, backward) = conditions.plain_conditions(cell, NAME), problem(cell), _asked(cell)
    temperatures, name = cell.options["temperatures"], cell.options["implementation"]
    peer, ran = find(name), {"ms_deform_attn": name}
    before = processes(how.device)
    detail: dict[str, Any] = {
        "inside": INSIDE,
        "levels": [list(shape) for shape in of.shapes],
        "calls": {"B": of.B, "S": of.S, "M": of.M, "D": of.D, "Q": of.Q, "L": len(of.shapes), "P": of.P},
        "bytes": bytes_moved(of, fused, cell.options["direction"]),
        "rows": rows_touched(of, cell.options["direction"]),
        "version": version(peer),
        "cells_before": _before,
    }
    _before += 1
    with how.applied():
        began = time.perf_counter()
        call, scope = call_of(peer.load(), fused)
        accuracy = check(call, of, fused, backward, cell.options["checked"])
        detail |= {"scope": scope, "accuracy": to_json(accuracy), "check_seconds": elapsed(began)}
        if wrong := verdict(accuracy):
            return Measurement(
                [], "s", {**detail, "invalid": wrong}, {"ms_deform_attn": cell.options["implementation"]}
            )
        detail["ceilings"] = {
            "copy": copy_rate(how.device),
            "cached_copy": copy_rate(how.device, _value_bytes(of)),
            **row_rates(how.device, of.dtype, of.D, of.B * of.S * of.M),
        }
        run = run_of(call, of, fused, cell.options["direction"])
        taken: list[Sample] = []
        times: dict[str, Any] = {}
        with Watch(how, before) as watch:
            for done, temperature in enumerate(temperatures):
                context.report(done=done, total=len(temperatures), phase=temperature)
                try:
                    own = samples(
                        run, temperature, how.device, cell.options["samples"], cell.options.get("warm_up_s", 0.0)
                    )
                except RuntimeError as error:
                    if temperature != "graph":
                        raise
                    times[temperature] = {"failed": f"{type(error).__name__}: {error}"}
                    continue
                times[temperature] = by_clock(own)
                taken += own
    detail |= {**watch.to_json(taken), "times": times}
    first = times[temperatures[0]]
    return Measurement(first[first["clock"]], "s", detail, ran)


def _asked(cell: Cell) -> tuple[bool, bool]:
    """Whether the fused operator and a derivative are asked for; InputError for options that do not exist."""
    op, direction = cell.options["op"], cell.options["direction"]
    if op not in OPERATORS:
        raise InputError(f"op {op!r}; expected one of {', '.join(OPERATORS)}")
    if direction not in DIRECTIONS:
        raise InputError(f"direction {direction!r}; expected one of {', '.join(DIRECTIONS)}")
    temperatures: Sequence[str] = cell.options["temperatures"]
    if not temperatures or temperatures[0] == "graph" or not set(temperatures) <= set(TEMPERATURES):
        raise InputError(f"temperatures {temperatures}; expected some of {', '.join(TEMPERATURES)}, graph not first")
    return op == "fused", direction != "forward"


def call_of(implementation: Implementation, fused: bool) -> tuple[Callable[..., Tensor], str]:
    """What is called, and what of it is the implementation's own."""
    if fused and implementation.fused is not None:
        return implementation.fused, "fused"
    if implementation.op is None:
        raise InputError("this implementation has no plain operator; expected op fused")
    return (chain(implementation.op), "chain") if fused else (implementation.op, "plain")


def run_of(call: Callable[..., Tensor], of: Problem, fused: bool, direction: str) -> Run:
    """One call on the problem's inputs, its derivative alone, or both."""
    made = inputs(of)
    rest = made.arguments(fused)[2:]
    leaves = [t.detach().requires_grad_(direction != "forward") for t in (made.value, *made.arguments(fused)[:2])]

    def forward() -> Tensor:
        return call(leaves[0], of.shapes, *leaves[1:], *rest)

    if direction == "forward":
        return torch.no_grad()(forward)
    if direction == "both":
        return lambda: torch.autograd.grad(forward(), leaves, made.grad)
    output = forward()
    return lambda: torch.autograd.grad(output, leaves, made.grad, retain_graph=True)


def _value_bytes(of: Problem) -> int:
    return of.B * of.S * of.M * of.D * of.dtype.itemsize

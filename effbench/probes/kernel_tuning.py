"""Which launch configurations of our Triton kernels are fastest here: `python -m effbench.probes.kernel_tuning`.

It prints what to write into the kernels' table, and changes nothing. `--dtype float16 --channels 64` ask for others
than all dtypes and 32 channels; a configuration takes a few seconds, most of them to compile.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from effbench.errors import InputError
from effbench.peers import own
from effbench.probes.kernel import call_of, run_of
from effbench.probes.kernel_check import check, verdict
from effbench.probes.kernel_inputs import Problem
from effbench.probes.kernel_timing import samples

COCO = ((25, 42), (50, 84), (100, 167))
HEADS, WIDTH, POINTS = 8, 256, 4
RUNS, CHECKED = 22, 4096
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Tried:
    """A configuration and its median seconds from cold caches and from warm ones; None where it is wrong or fails."""

    configuration: Any
    cold: float | None
    hot: float | None
    reason: str | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    """Try all, forward and backward, and print them, fastest from cold caches first."""
    parser = argparse.ArgumentParser(description="Tune the Triton kernels.")
    parser.add_argument("--dtype", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--channels", type=int, nargs="+", default=[32])
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args(arguments)
    for channels in chosen.channels:
        for dtype in chosen.dtype:
            for direction in ("forward", "backward"):
                print(f"{dtype}, D={channels}, {direction}:")
                tried = list(tune(problem_of(getattr(torch, dtype), channels, chosen.device), direction))
                for one in sorted(tried, key=lambda one: one.cold or float("inf")):
                    print(f"  {one.configuration}: {_us(one.cold)} cold, {_us(one.hot)} hot {one.reason or ''}")


def problem_of(dtype: torch.dtype, channels: int, device: str) -> Problem:
    """The encoder's call on an image of COCO, 256 wide, with realistic locations."""
    tokens = sum(height * width for height, width in COCO)
    return Problem(COCO, 1, WIDTH // channels, channels, POINTS, tokens, "realistic", dtype, device)


def tune(of: Problem, direction: str) -> Iterator[Tried]:
    """Check and time the fused operator with every candidate; InputError where Triton cannot run."""
    case = of.case(fused=True, backward=direction == "backward")
    peer = own.peers()["triton"]
    if reason := peer.refuses(case):
        raise InputError(f"tuning: {reason}; expected a machine on which impl='triton' runs")
    call, _ = call_of(peer.load(), fused=True)
    for configuration in own.configurations(case):
        with own.launched_with(case, configuration):
            try:
                if wrong := verdict(check(call, of, True, case.backward, CHECKED)):
                    yield Tried(configuration, None, None, wrong)
                    continue
                run, device = run_of(call, of, True, direction), torch.device(of.device)
                times = {
                    temperature: [s.host if s.device is None else s.device for s in found]
                    for temperature in ("cold", "hot")
                    for found in [samples(run, temperature, device, RUNS, 0.0)]
                }
            except Exception as error:  # too many registers or too much shared memory: one more that does not do
                yield Tried(configuration, None, None, f"{type(error).__name__}: {error}".splitlines()[0])
                continue
        yield Tried(configuration, statistics.median(times["cold"]), statistics.median(times["hot"]))


def _us(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e6 * seconds:.1f} us"


if __name__ == "__main__":
    main()

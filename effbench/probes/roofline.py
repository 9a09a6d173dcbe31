"""What bounds a component: arithmetic, memory, or launches, against ceilings that are measured in the same process.

Source: Williams, Waterman and Patterson, Roofline (2009); the ceilings are attained ones, never a datasheet's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effbench.models.segmenter import Segmenter
from effbench.probes.clocks import Clock, Run, clock, launch_bound
from effbench.probes.conditions import Conditions
from effbench.probes.mac_count import PARTS
from effbench.probes.warm_up import warm_up

RUNS = 11
SIDE = {"cpu": 1024, "cuda": 8192}
CHANNELS = 256
MAP = {"cpu": (1, CHANNELS, 128, 128), "cuda": (16, CHANNELS, 128, 128)}
COPIED = 2**28
"""Bytes of the copied buffer: more than any cache holds."""


@dataclass(frozen=True)
class Ceilings:
    """What this machine attains: multiply-accumulates and bytes per second, and which operator the former are of."""

    mac_per_s: float
    byte_per_s: float
    operator: str


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Median rate in `dtype` of a square matrix product or a 3x3 convolution, and of a copy (bytes read and written).

    The faster of the two: they come from different libraries, of which on some CPUs one is twice as fast.
    """
    side, timer = SIDE[device.type], clock(device)
    # random numbers: a GPU draws less power, and is faster, on constant ones
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    x, kernel = (
        torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in (MAP[device.type], (CHANNELS, CHANNELS, 3, 3))
    )
    source = torch.ones(COPIED, device=device, dtype=torch.uint8)
    product, target = torch.empty_like(a), torch.empty_like(source)
    rates = {
        "product": side**3 / median_seconds(timer, lambda: torch.mm(a, b, out=product)),
        "convolution": 9 * CHANNELS * x.numel() / median_seconds(timer, lambda: F.conv2d(x, kernel, padding=1)),
    }
    fastest = max(rates, key=lambda name: rates[name])
    return Ceilings(rates[fastest], 2 * COPIED / median_seconds(timer, lambda: target.copy_(source)), fastest)


def place(macs: int, moved: int, seconds: float, roof: Ceilings, waits: bool | None) -> dict[str, Any]:
    """Where a component stands below the ceilings.

    launch: the device waits for its launches (`waits`; never on a CPU, where a call does its work itself). Otherwise
    the ceiling that is nearer: compute where its MACs alone take longer than its bytes alone, else memory. `moved` is
    the least that must be moved, so that "memory" is certain and "compute" is the most that can be said; a component
    far below both (`attained`, the share of its nearer ceiling) is bound by how it is written.
    """
    shares = {"compute": macs / seconds / roof.mac_per_s, "memory": moved / seconds / roof.byte_per_s}
    nearer = max(shares, key=lambda name: shares[name])
    return {
        "macs": macs,
        "bytes": moved,
        "seconds": seconds,
        "mac_per_s": macs / seconds,
        "byte_per_s": moved / seconds,
        "mac_share": shares["compute"],
        "byte_share": shares["memory"],
        "attained": shares[nearer],
        "bound": "launch" if waits else nearer,
    }


def rooflines(
    model: Segmenter, images: Tensor, how: Conditions, macs: Mapping[str, int], seconds: Mapping[str, float]
) -> dict[str, Any]:
    """The ceilings, and each of `PARTS` below them: its `macs` in its `seconds` of one pass."""
    roof, timer = ceilings(how.device, how.dtype), clock(how.device)
    answer: dict[str, Any] = {"ceilings": asdict(roof)}
    for name, (inputs, output) in calls(model, images).items():
        part: nn.Module = getattr(model, name)
        waits = None if how.device.type == "cpu" else _waits(part, inputs, timer)
        answer[name] = place(macs[name], bytes_moved(part, inputs, output), seconds[name], roof, waits)
    return answer


def calls(model: Segmenter, images: Tensor) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """part -> (arguments, output) of its call in one forward."""
    seen: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            seen[name] = inputs, output

        return hook

    with ExitStack() as stack:
        for name in PARTS:
            stack.callback(getattr(model, name).register_forward_hook(keep(name)).remove)
        model(images)
    return seen


def bytes_moved(part: nn.Module, inputs: Any, output: Any) -> int:
    """Bytes of the part's inputs, outputs and weights: what it moves even where nothing between leaves the caches."""
    weights = [*part.parameters(), *part.buffers()]
    return sum(x.numel() * x.element_size() for x in (*_tensors(inputs), *_tensors(output), *weights))


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))


def median_seconds(timer: Clock, run: Run) -> float:
    """Of `RUNS` runs after a warm-up, by the device's clock where it has one."""
    warm_up(lambda: timer.time(run).host)
    samples = [timer.time(run) for _ in range(RUNS)]
    return statistics.median(s.host if s.device is None else s.device for s in samples)


def _waits(part: nn.Module, inputs: tuple[Any, ...], timer: Clock) -> bool | None:
    """`launch_bound` of the part alone, on the inputs that it has in the pass."""
    samples = [timer.time(lambda: part(*inputs)) for _ in range(RUNS)]
    device = [sample.device for sample in samples if sample.device is not None]
    return launch_bound(statistics.median(s.host for s in samples), statistics.median(device) if device else None)

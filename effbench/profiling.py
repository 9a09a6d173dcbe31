"""Where the time of a model goes, module by module: PyTorch's profiler, with every module's forward as a range."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from effbench.models.segmenter import Segmenter

PREFIX = "module "


@dataclass(frozen=True)
class ModuleTime:
    """One module over all passes.

    Attributes:
        name, kind: its dotted name and class.
        calls: forwards per pass.
        seconds: per pass, its children included; host time, and device time where there is a device.
    """

    name: str
    kind: str
    calls: float
    host: float
    device: float


def module_times(
    model: Segmenter, images: torch.Tensor, passes: int, depth: int, trace: Path | None = None
) -> list[ModuleTime]:
    """Profile `passes` forwards of images (B, 3, H, W) after one to warm up; modules down to `depth`, longest first.

    The ranges cost time of their own, so that the shares are to be read, and not the sums. `trace` takes a file for
    chrome://tracing or Perfetto.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if images.is_cuda else [])]
    with torch.inference_mode():
        model.eval()(images)
        with _ranges(model, depth), profile(activities=activities, acc_events=True) as profiler:
            for _ in range(passes):
                model(images)
            if images.is_cuda:
                torch.cuda.synchronize()
    if trace is not None:
        profiler.export_chrome_trace(str(trace))
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    times = [
        ModuleTime(
            name := event.key.removeprefix(PREFIX),
            kinds[name],
            event.count / passes,
            event.cpu_time_total * 1e-6 / passes,
            event.device_time_total * 1e-6 / passes,
        )
        for event in profiler.key_averages()
        if event.key.startswith(PREFIX)
    ]
    return sorted(times, key=lambda t: max(t.host, t.device), reverse=True)


@contextmanager
def _ranges(model: nn.Module, depth: int) -> Iterator[None]:
    """Name the time inside every module down to `depth` dots."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name and name.count(".") < depth:
                open_ranges: list[Any] = []

                def enter(_: Any, __: Any, name: str = name, ranges: list[Any] = open_ranges) -> None:
                    ranges.append(record_function(PREFIX + name))
                    ranges[-1].__enter__()

                def leave(_: Any, __: Any, ___: Any, ranges: list[Any] = open_ranges) -> None:
                    ranges.pop().__exit__(None, None, None)

                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave).remove)
        yield

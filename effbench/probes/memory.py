"""Peak memory of the encoder's forward and of the whole pass, by component, above what the model itself takes.

Counted is what PyTorch's allocator of the device gives out: activations, temporaries and what operators ask for
inside. On a CPU the events of torch's profiler say so, exactly and alike in every run; a process's resident size would
add what libraries and the C library's free lists hold, and cannot be split. Left out on both is what libraries take by
themselves (oneDNN's scratch pads, a CUDA context). Deterministic: one sample.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

from effbench.models.segmenter import Segmenter
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, needs_device, segmenter
from effbench.probes.mac_count import PARTS
from effbench.probes.whole_pass import COMPONENTS, end_to_end, marked, random_images
from effbench.study.cell import Cell

NAME = "memory"
VERSION = "1"
INSIDE = "peak bytes during the encoder's forward above those that are live when it begins"
missing = needs_device

Peaks = dict[str, dict[str, int]]


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Bytes on random images of `cell.size` "HxW".

    Each component has `own`, its peak above what was live when it began, and `whole`, its peak above what was live
    when the pass began (the maps it reads included). The detail's `whole` is the largest of the latter; `weights` are
    bytes by part and lie below all of these. On CUDA, `reserved` is what the caching allocator takes from the device.
    """
    how = conditions.plain_conditions(cell, NAME)
    torch.manual_seed(0)
    with how.applied():
        model = segmenter(cell).eval()
        images = random_images(cell)
        end_to_end(model, images)  # libraries make their workspaces in the first pass
        found = (_cuda if how.device.type == "cuda" else _cpu)(model, images)
    components: Peaks = found["components"]
    detail = {
        "inside": INSIDE,
        "conditions": how.to_json(),
        **found,
        "whole": max(peaks["whole"] for peaks in components.values()),
        "weights": {
            name: sum(p.numel() * p.element_size() for p in getattr(model, name).parameters()) for name in PARTS
        },
    }
    return Measurement([components["encoder"]["own"]], "B", detail, model.encoder.implementation())


def _cuda(model: Segmenter, images: Tensor) -> dict[str, Any]:
    device = images.device
    torch.cuda.empty_cache()
    live, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    began: dict[str, int] = {}
    components: Peaks = {}
    most_reserved = 0

    def enter(name: str) -> None:
        torch.cuda.reset_peak_memory_stats(device)
        began[name] = torch.cuda.memory_allocated(device)

    def leave(name: str) -> None:
        nonlocal most_reserved
        peak = torch.cuda.max_memory_allocated(device)
        most_reserved = max(most_reserved, torch.cuda.max_memory_reserved(device))
        components[name] = {"own": peak - began[name], "whole": peak - live}

    with marked(model, enter, leave) as run:
        run(images)
    return {"counts": "CUDA caching allocator", "components": components, "reserved": most_reserved - reserved}


def _cpu(model: Segmenter, images: Tensor) -> dict[str, Any]:
    ranges: dict[str, record_function] = {}

    def enter(name: str) -> None:
        ranges[name] = record_function(name)
        ranges[name].__enter__()

    def leave(name: str) -> None:
        ranges[name].__exit__(None, None, None)

    with (
        profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler,
        marked(model, enter, leave) as run,
    ):
        run(images)
    return {"counts": "PyTorch's CPU allocator", "components": peaks(_trace(profiler.export_chrome_trace))}


def _trace(export: Callable[[str], None]) -> list[dict[str, Any]]:
    """The events of a profile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        export(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
        return events


def peaks(events: list[dict[str, Any]]) -> Peaks:
    """Component -> its peaks, from a profile's events: ranges with the components' names, and allocations."""
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    found: Peaks = {}
    for event in events:
        if event["name"] not in COMPONENTS or event.get("cat") != "user_annotation":
            continue
        begin, end = event["ts"], event["ts"] + event["dur"]
        live = sum(size for at, size in changes if at < begin)
        peak, now = live, live
        for at, size in changes:
            if begin <= at <= end:
                now += size
                peak = max(peak, now)
        found[event["name"]] = {"own": peak - live, "whole": peak}
    return found

"""`effbench profile`: where the time of a model goes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def profile(
    system: Annotated[str, typer.Argument(help="A registered encoder: see `effbench list`.")],
    settings: Annotated[
        list[str], typer.Option("--set", help="One of the encoder's settings, as NAME=VALUE. Repeatable.")
    ] = [],  # noqa: B006 (typer reads the default)
    backbone: Annotated[str, typer.Option(help="A preset or timm name.")] = "r50",
    size: Annotated[str, typer.Option(help="HxW of the image in pixels.")] = "512x512",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    passes: Annotated[int, typer.Option(min=1, help="Forwards to profile.")] = 3,
    depth: Annotated[int, typer.Option(min=1, help="Show modules so many names deep.")] = 3,
    rows: Annotated[int, typer.Option(min=1, help="Show so many modules, the longest first.")] = 25,
    trace: Annotated[Path | None, typer.Option(help="File for the profiler's trace (Perfetto, Chrome).")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")
    ] = False,
) -> None:
    """Profile a model of fresh weights on a random image, by module. A module's time holds its children's."""
    import torch

    from effbench.encoders.registry import encoder_class
    from effbench.models.segmenter import build_segmenter
    from effbench.probes.base import parse_size
    from effbench.profiling import module_times
    from effbench.settings import parse_settings
    from effbench.study.device import checked_device

    chosen = parse_settings(settings, encoder_class(system), system)
    height, width = parse_size(size)
    checked_device(device)
    torch.manual_seed(0)
    with torch.device(device):
        model = build_segmenter(system, backbone, **chosen)
        images = torch.rand(1, 3, height, width)
    times = module_times(model, images, passes, depth, trace)
    if as_json:
        print(json.dumps({"system": system, "settings": chosen, "modules": [asdict(time) for time in times]}))
        return
    console = Console()
    whole = sum(t.host for t in times if "." not in t.name)
    table = Table(title=f"{system} on {backbone} at {size}, {device}: per pass, children included")
    for title in ("module", "class", "calls", "host ms", "share", *(["device ms"] if device == "cuda" else [])):
        table.add_column(title, justify="left" if title in ("module", "class") else "right", overflow="fold")
    for t in times[:rows]:
        row = [t.name, t.kind, f"{t.calls:g}", f"{1e3 * t.host:.2f}", f"{100 * t.host / whole:.0f}%"]
        table.add_row(*row, *([f"{1e3 * t.device:.2f}"] if device == "cuda" else []))
    console.print(table)
    if trace is not None:
        console.print(f"Trace: {trace}", markup=False, soft_wrap=True)

"""`effbench doctor`: what this machine can run, and what would distort a timing on it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")
    ] = False,
) -> None:
    """Say what this machine can run, what would distort a timing on it, and how to mend that.

    Watches the CPU for a second, so start it when nothing of yours computes. What it finds is advice: the exit code
    is 0.
    """
    from effbench.doctor import examine

    found = examine()
    if as_json:
        print(json.dumps(found))
        return
    console = Console()
    console.print(_devices(found), _peers(found))
    console.print(_distortions(found))


def _devices(found: dict[str, Any]) -> Table:
    table = Table(title="Devices, and what runs on them", show_lines=True)
    for title in ("device", "what", "answer"):
        table.add_column(title, overflow="fold")
    for name, device in found["devices"].items():
        memory = [f"{device[key] / 2**30:.1f} GiB {text}" for key, text in _MEMORY.items() if device[key] is not None]
        details = [str(device["name"]), *(f"{device[key]} {key}" for key in ("cores",) if key in device), *memory]
        details += [f"{key} {device[key]}" for key in ("capability", "driver") if device.get(key)]
        table.add_row(name, "", escape(", ".join(details)))
        table.add_row("", "numbers", "\n".join(f"{dtype}: {answer}" for dtype, answer in device["dtypes"].items()))
        runs = found["implementations"][name].items()
        table.add_row(
            "", "ms_deform_attn", escape("\n".join(f"{implementation}: {answer}" for implementation, answer in runs))
        )
    return table


_MEMORY = {"memory": "in all", "memory_free": "free"}


def _peers(found: dict[str, Any]) -> Table:
    table = Table(title="Optional packages")
    for title in ("package", "version", "for", "install with"):
        table.add_column(title, overflow="fold")
    for name, peer in found["peers"].items():
        here = peer["version"] is not None
        table.add_row(name, peer["version"] or "missing", peer["purpose"], "" if here else escape(peer["install"]))
    return table


def _distortions(found: dict[str, Any]) -> Table:
    table = Table(title="What would distort a timing")
    for title in ("subject", "", "found", "mend"):
        table.add_column(title, overflow="fold")
    for finding in found["distortions"]:
        table.add_row(*(escape(finding[key]) for key in ("subject", "status", "found", "mend")))
    return table

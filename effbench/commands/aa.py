"""`effbench aa`: what a timing on this machine can show."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress


def aa(
    encoder: Annotated[str, typer.Option(help="A registered encoder, of which a narrow one runs.")] = "fpn",
    processes: Annotated[int, typer.Option(min=5, help="Per side of a comparison; four times as many run.")] = 20,
    comparisons: Annotated[int, typer.Option(min=2, help="Of random halves that did the same work.")] = 200,
    planted: Annotated[float, typer.Option(min=1, max=100, help="Slow-down to be found, in percent.")] = 5.0,
    size: Annotated[str, typer.Option(help="HxW of the image whose maps the encoder gets.")] = "64x64",
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each process.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of all results; `effbench compare` finds the floor there.")] = (
        Path("results")
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")] = (
        False
    ),
) -> None:
    """Measure this machine's false alarms, noise floor and smallest detectable slow-down, by A/A comparisons.

    Takes some minutes, in which nothing else should run. Ends with 1 where more than 1% of the comparisons are false
    alarms, or fewer than 95% find the planted slow-down: then it takes more processes, or a quieter machine.
    """
    from effbench.errors import InputError
    from effbench.models.segmenter import STRIDE
    from effbench.probes.base import parse_size
    from effbench.study import aa as study
    from effbench.study.device import checked_device
    from effbench.study.environment import machine
    from effbench.study.suite import NARROW, System

    console = Console()
    height, width = parse_size(size)
    if height % STRIDE or width % STRIDE:
        raise InputError(f"size {size} is timed without padding; expected multiples of {STRIDE}")
    settings = System(encoder).fields(NARROW)["width"]
    workload = study.Workload(encoder, settings, (height, width), checked_device(device), threads)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("fresh processes", total=4 * processes)
        result = study.run(
            workload, planted / 100, processes, comparisons, lambda done, total: progress.update(bar, completed=done)
        )
    path = study.write(result, results, machine(workload.device))
    found = result.evaluation
    smallest = f"{found.smallest:.1%}" if found.smallest else "more than 50%"
    lines = [
        f"{encoder} at {size} on {workload.device}, {len(result.processes)} fresh processes, "
        f"{found.processes} per side, {result.seconds:.0f} s",
        f"false alarms: {found.false_alarms} of {found.comparisons} (target: at most 1%)",
        f"planted slow-down of {found.planted:.1%} ({found.measured:.1%} as measured): found {found.found} of "
        f"{found.plants} times (target: at least 95%)",
        f"noise floor: {found.floor:.2%} for sides that take turns, "
        f"{found.floor_one_after_the_other:.2%} for one after the other",
        f"smallest slow-down that 95% of comparisons would find (simulated from these samples): {smallest}",
        f"Result: {path}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        answer = {"path": str(path), "seconds": result.seconds, "reached": found.reached, **asdict(found)}
        print(json.dumps(answer))
    if not found.reached:
        raise typer.Exit(1)

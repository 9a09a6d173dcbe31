"""`effbench compare`: what became slower between two measurements, and what did not."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from effbench.study.compare import Change

MEASURED = "records.jsonl, a folder of results, a JSON file of pytest-benchmark or a folder of those."
SCALES = {"s": (1e3, "ms"), "J": (1.0, "J")}


def compare(
    before: Annotated[Path, typer.Argument(help=f"What was: {MEASURED}")],
    after: Annotated[Path, typer.Argument(help=f"What is: {MEASURED}")],
    size: Annotated[float, typer.Option(min=0.1, help='The change in percent that "same" must rule out.')] = 5.0,
    floor: Annotated[
        float | None, typer.Option(min=0, help="Noise floor in percent, instead of that of `effbench aa`.")
    ] = None,
    counts: Annotated[bool, typer.Option("--counts", help="Only MACs, parameters and bytes; on any machine.")] = False,
    results: Annotated[Path, typer.Option(help="Folder of all results, where `effbench aa` stores its own.")] = (
        Path("results")
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")] = (
        False
    ),
) -> None:
    """Compare times by their processes, and counts exactly.

    Ends with 0 when all is the same, 1 when something is slower, a count has changed or a measurement fails that did
    not, 2 for input that cannot be compared, 3 when times are ambiguous, 4 when there is nothing to compare. A time is
    called slower when the 99% bootstrap interval of the ratio excludes 1 and the ratio exceeds the machine's noise
    floor, which `effbench aa` measures.
    """
    from effbench.study.aa import floor_from
    from effbench.study.compare import compare as compare_sides
    from effbench.study.compare_files import read_side

    sides = read_side(before), read_side(after)
    known = floor_from(results) if floor is None else lambda *_: floor / 100
    found = compare_sides(*sides, known, size / 100, counts)
    console = Console()
    times = [change for change in found.changes if change.ratio is not None or change.unit in SCALES]
    _print_times(console, times)
    exact = [change for change in found.changes if change not in times]
    equal = sum(change.verdict == "equal" for change in exact)
    if exact:
        console.print(f"Counts: {equal} of {len(exact)} are equal")
    for change in exact:
        if change.verdict != "equal":
            values = f"{change.before} {change.unit} before, {change.after} after" if change.after is not None else ""
            said = ", ".join(filter(None, (values, change.reason)))
            console.print(f"{change.verdict}: {change.name}: {said}", markup=False, soft_wrap=True)
    for name, reason in found.left_out:
        console.print(f"not compared: {name}: {reason}", markup=False, soft_wrap=True)
    if any(change.floor is None and change.after is not None for change in times):
        where = f"{results}/<machine>/aa"
        console.print(f"No noise floor of this machine in {where}: `effbench aa` measures it", soft_wrap=True)
    if not found.changes:
        console.print("Nothing to compare: the two sides have no measurement in common", soft_wrap=True)
    if as_json:
        answer = {
            "exit_code": found.exit_code,
            "size": size / 100,
            "changes": [_plain(change) for change in found.changes],
            "left_out": [{"name": name, "reason": reason} for name, reason in found.left_out],
        }
        print(json.dumps(answer))
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _print_times(console: Console, changes: list[Change]) -> None:
    if not changes:
        return
    table = Table(title="Medians over processes; ratio of after to before with its 99% interval")
    for title in ("what", "before", "after", "ratio", "interval", "floor", "processes", "verdict"):
        table.add_column(title, overflow="fold", justify="left" if title in ("what", "verdict") else "right")
    for change in changes:
        factor, unit = SCALES.get(change.unit, (1.0, change.unit))
        values = ["-" if value is None else f"{factor * value:.3f} {unit}" for value in (change.before, change.after)]
        ratio = ["-", "-"]
        if change.ratio is not None:
            ratio = [f"{change.ratio.ratio:.3f}", f"{change.ratio.low:.3f} to {change.ratio.high:.3f}"]
        floor = "-" if change.floor is None else f"{change.floor:.1%}"
        processes = " and ".join(map(str, change.processes))
        turns = "" if change.interleaved else " (one after the other)"
        verdict = f"{change.verdict}: {change.reason}" if change.reason else change.verdict
        cells = (change.name, *values, *ratio, floor + turns, processes, verdict)
        table.add_row(*map(escape, cells))  # a benchmark's name has brackets
    console.print(table)


def _plain(change: Change) -> dict[str, object]:
    return {**asdict(change), "ratio": change.ratio and change.ratio._asdict()}

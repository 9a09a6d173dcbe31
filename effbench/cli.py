"""The command line: `effbench list | run | report | macs`, and what effbench/commands has."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from effbench.commands import aa, check, claims, compare, derive, doctor, evaluate, gate, profile, train
from effbench.commands.options import DataRoot, Json, Limit, Settings, System
from effbench.encoders.contract import SettingError
from effbench.errors import InputError

app = typer.Typer(
    help="Benchmarks of encoders for Mask2Former-style segmentation: what they cost and what quality they give.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

SuiteName = Annotated[str, typer.Argument(help="A suite: see `effbench list`.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the suite; its default fits the other options.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda, of a profile that takes either; default: cuda if any.")]
Systems = Annotated[list[str], typer.Option("--system", help="Only this system of the suite. Repeatable.")]
Results = Annotated[Path, typer.Option(help="Folder of all results.")]


def main() -> None:
    """Entry point: bad input is one line on stderr and exit code 2. Wrong usage ends with 2, an interrupt with 130."""
    try:
        app()
    except (InputError, SettingError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error}; name a file or folder that can be read and written", file=sys.stderr)
        sys.exit(2)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List encoders with their settings, backbones and suites."""
    from effbench.encoders.registry import registered, setting_defaults
    from effbench.models.backbones import PRESETS
    from effbench.study.suite import suites

    encoders = {name: setting_defaults(name) for name in registered()}
    found = suites()
    if as_json:
        known = {name: suite.question for name, suite in found.items()}
        print(json.dumps({"encoders": encoders, "backbones": list(PRESETS), "suites": known}))
        return
    table = Table("encoder", "settings (default)", title="Encoders")
    for name, defaults in encoders.items():
        table.add_row(name, ", ".join(f"{setting}={value}" for setting, value in defaults.items()))
    console.print(table)
    console.print(f"Backbones: {', '.join(PRESETS)}, or any timm model with maps at strides 4, 8, 16, 32")
    for name, suite in found.items():
        console.print(f"Suite {name}: {suite.question}")


@app.command()
def run(
    suite: SuiteName,
    profile: Profile = None,
    data_root: DataRoot = None,
    limit: Limit = None,
    system: Systems = [],  # noqa: B006 (typer reads the default)
    device: Device = None,
    results: Results = Path("results"),
    retry_failed: Annotated[bool, typer.Option(help="Measure again what failed before.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what would be measured, and measure nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a suite and write its report; what is finished is not measured again.

    Without --data-root, suite coco trains narrow models on images that it generates. Interrupt it when you like:
    the same command goes on where it stopped.
    """
    from effbench.study.progress import ProgressDisplay
    from effbench.study.record import RecordBook
    from effbench.study.runner import Runner

    found, plan, folder = _plan(suite, results, profile, data_root, limit, tuple(system), device)
    display = ProgressDisplay(console)
    runner = Runner(folder, display, retry_failed)
    if dry_run:
        known = RecordBook(folder / "records.jsonl", read_only=True).latest()
        states = [{"task": task.title, "status": runner.status(known, task)} for task in plan.tasks]
        for state in states:
            console.print(f"{state['status']:>13}  {state['task']}", markup=False, soft_wrap=True)
        if as_json:
            print(json.dumps({"folder": str(folder), "tasks": states}))
        return
    with display:
        outcome = runner.run(plan.tasks)
    _report(found, plan, folder)
    if outcome.failed:
        console.print(f"{outcome.failed} tasks failed; their reasons are in the report. --retry-failed tries again.")
    if as_json:
        print(json.dumps({"folder": str(folder), **vars(outcome)}))
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def report(
    suite: SuiteName,
    profile: Profile = None,
    data_root: DataRoot = None,
    limit: Limit = None,
    system: Systems = [],  # noqa: B006 (typer reads the default)
    device: Device = None,
    results: Results = Path("results"),
) -> None:
    """Write a suite's report again, from the records that are there."""
    found, plan, folder = _plan(suite, results, profile, data_root, limit, tuple(system), device)
    if not (folder / "records.jsonl").is_file():
        raise InputError(f"{folder / 'records.jsonl'} not found; expected the records of `effbench run {suite}`")
    _report(found, plan, folder)


def _plan(suite: str, results: Path, *options: Any) -> Any:
    """The suite, its plan for the fields of `Options`, and the folder of its results."""
    from effbench.study.environment import machine
    from effbench.study.suite import Options, find_suite

    found = find_suite(suite)
    plan = found.plan(Options(*options))
    return found, plan, results / machine(plan.device) / found.name / plan.profile


def _report(suite: Any, plan: Any, folder: Path) -> None:
    from effbench.report import page
    from effbench.study.record import RecordBook

    command = shlex.join(["effbench", "run", *sys.argv[2:]])  # a report has the options of the run it is of
    shown = page.write(folder, suite, plan, RecordBook(folder / "records.jsonl", read_only=True).records, command)
    # full width and narrow apart: all columns beside each other are too many for a terminal
    narrow = {column.title: column.narrow for column in plan.columns}
    apart: dict[bool, list[str]] = {}
    is_narrow = False
    for title in shown.columns:
        is_narrow = narrow.get(title, is_narrow)  # a printed number or a ratio stands behind the column that it is of
        apart.setdefault(is_narrow, []).append(title)
    for is_narrow, titles in apart.items():
        width = "narrow" if is_narrow else "full width"
        table = Table(title=f"{suite.name}, profile {plan.profile}, {width}")
        table.add_column("system", min_width=14, overflow="fold")
        for title in titles:
            table.add_column(title, justify="right", overflow="fold")
        for name, row in shown[titles].iterrows():
            table.add_row(str(name), *row)
        console.print(table)
    for note in plan.notes:
        console.print(f"- {note}", markup=False, soft_wrap=True)
    console.print(f"Report: {folder / 'README.md'}", markup=False, soft_wrap=True)


@app.command()
def macs(
    system: System,
    settings: Settings = [],  # noqa: B006 (typer reads the default)
    backbone: Annotated[str, typer.Option(help="r50, r101, swin_t, swin_s, swin_b, swin_l or a timm name.")] = "r50",
    size: Annotated[str, typer.Option(help="HxW, cityscapes, coco, coco:first30 or coco:first100.")] = "coco",
    classes: Annotated[int | None, typer.Option(min=1, help="Default: 19 at 1024x2048, 133 elsewhere.")] = None,
    queries: Annotated[int | None, typer.Option(min=1, help="Default: 100, or 200 with swin_l.")] = None,
    exit: Annotated[
        int | None, typer.Option(help="Of early_exit: the layer to leave after; default: the last.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count multiply-accumulates per image by component, without doing the compute.

    `papers` is the convention of the papers' tables, whose "GFLOPs" are these GMACs; `complete` adds what their tool
    leaves out. Under coco:firstN the encoder is the last image's and the total the mean, as that tool prints them.
    """
    import torch

    from effbench.encoders.contract import exits_of
    from effbench.encoders.registry import encoder_class, setting_defaults
    from effbench.models.backbones import preset
    from effbench.models.segmenter import build_segmenter
    from effbench.probes.mac_sizes import default_classes, size_protocol
    from effbench.probes.macs import count
    from effbench.settings import parse_settings

    chosen = parse_settings(settings, encoder_class(system), system)
    protocol = size_protocol(size)
    classes = classes or default_classes(size)
    queries = queries or preset(backbone).queries
    with torch.device("meta"):
        model = build_segmenter(system, backbone, num_classes=classes, num_queries=queries, **chosen)
    exits = exits_of(model.encoder)
    if exit is not None and exit not in exits:
        allowed = ", ".join(map(str, exits)) or "none, it has no early exits"
        raise InputError(f"exit {exit} of {system}; expected one of its exits: {allowed}")
    counted = {
        convention: {component: macs / 1e9 for component, macs in parts.items()}
        for convention, parts in count(model, protocol, queries, classes, exit=exit).items()
    }
    answer = {
        "system": system,
        "settings": {**setting_defaults(system, chosen), **chosen, **({"exits": exits} if exits else {})},
        "backbone": backbone,
        "size": size,
        "classes": classes,
        "queries": queries,
        "unit": "GMAC",
        **({"exit": exit or max(exits)} if exits else {}),
        **counted,
    }
    if as_json:
        print(json.dumps(answer))
        return
    table = Table("component", "papers", "complete", title=f"{system} on {backbone} at {size}, GMACs per image")
    for component in counted["papers"]:
        table.add_row(component, *(f"{counted[convention][component]:.3f}" for convention in ("papers", "complete")))
    console.print(table)
    left_out = ", ".join(f"{operator} {gmacs:.3f}" for operator, gmacs in counted["left_out"].items())
    console.print(f"papers leaves out: {left_out or 'nothing'}", soft_wrap=True)


COMMANDS: dict[str, Callable[..., None]] = {
    "train": train.train,
    "eval": evaluate.evaluate,
    "derive": derive.derive,
    "gate": gate.gate,
    "aa": aa.aa,
    "check": check.check,
    "claims": claims.claims,
    "compare": compare.compare,
    "doctor": doctor.doctor,
    "profile": profile.profile,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


if __name__ == "__main__":
    main()

"""The command line: `effbench list | run | report | macs | train | eval`, and what effbench/commands has."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer
from rich.console import Console
from rich.table import Table

from effbench.commands import aa, check, compare, doctor, profile
from effbench.encoders.contract import SettingError
from effbench.errors import InputError

if TYPE_CHECKING:
    from effbench.study.progress import ProgressDisplay

app = typer.Typer(
    help="Benchmarks of encoders for Mask2Former-style segmentation: what they cost and what quality they give.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

System = Annotated[str, typer.Argument(help="A registered encoder: see `effbench list`.")]
Settings = Annotated[list[str], typer.Option("--set", help="One of the encoder's settings, as NAME=VALUE. Repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")]
SuiteName = Annotated[str, typer.Argument(help="A suite: see `effbench list`.")]
Profile = Annotated[str | None, typer.Option(help="A profile of the suite; its default fits the other options.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of real photos: COCO panoptic or Cityscapes layout.")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="coco or cityscapes: the one in EFFBENCH_DATASETS, else in DETECTRON2_DATASETS."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate this many photos of the data root.")]
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


def _photos(data_root: Path | None, dataset: str | None) -> Path | None:
    """The folder of real photos that was asked for; None for the embedded set."""
    from effbench.data.roots import Dataset, find_root

    if dataset is None:
        return data_root
    if dataset not in get_args(Dataset):
        raise InputError(f"no data set is called {dataset!r}; expected one of {', '.join(get_args(Dataset))}")
    return find_root(data_root, cast(Dataset, dataset))


@contextmanager
def _progress(title: str) -> Iterator[tuple[ProgressDisplay, str]]:
    from effbench.study.progress import ProgressDisplay

    with ProgressDisplay(console) as display:
        display.started(title)
        yield display, title


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


@app.command()
def train(
    system: System,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and the model.")],
    data_root: DataRoot = None,
    dataset: DatasetName = None,
    settings: Settings = [],  # noqa: B006 (typer reads the default)
    backbone: Annotated[str, typer.Option(help="A preset or timm name.")] = "resnet_mini",
    queries: Annotated[int, typer.Option(min=1)] = 20,
    steps: Annotated[int, typer.Option(min=1)] = 600,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Side of the square training crops, a multiple of 32.")] = 96,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    sampling: Annotated[str, typer.Option(help="Losses on `points`, as the papers', or `dense`.")] = "dense",
    augmentation: Annotated[
        str, typer.Option(help="crop, or as Mask2Former's release: large_scale_jitter (COCO), cityscapes.")
    ] = "crop",
    exit_loss: Annotated[
        str, typer.Option(help="Of early_exit: train the last exit, or all, uniform or weighted by depth.")
    ] = "last",
    workers: Annotated[int, typer.Option(min=0, help="Processes that load images ahead of the training.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda: a device for each process of torchrun.")] = "cpu",
    seed: int = 0,
) -> None:
    """Train a segmenter on real photos, or on the embedded set where neither a data root nor a data set is named.

    A killed training goes on from its checkpoint when the command is given again. On several devices:
    torchrun --nproc-per-node 2 -m effbench.cli train ...
    """
    from effbench.encoders.registry import encoder_class
    from effbench.settings import parse_settings
    from effbench.study.device import checked_device
    from effbench.training import run as training
    from effbench.training.criterion import CriterionSettings
    from effbench.training.distributed import process_group
    from effbench.training.trainer import Recipe

    chosen = parse_settings(settings, encoder_class(system), system)
    criterion = CriterionSettings(sampling=sampling)
    recipe = Recipe(
        steps,
        batch_size,
        crop,
        learning_rate,
        criterion=criterion,
        seed=seed,
        augmentation=augmentation,
        exit_loss=exit_loss,
    )
    root = _photos(data_root, dataset)
    model = {"encoder": system, "backbone": backbone, "num_queries": queries, **chosen}
    checked_device(device)
    with process_group(device) as place, _progress(f"{system} training") as (display, title):
        path = training.train(
            model,
            root,
            recipe,
            out,
            lambda s: display.progressed(title, {"done": s.step, "total": s.steps, **s.losses}),
            workers,
            device,
        )
        if place.first:
            console.print(f"Weights: {path}", markup=False, soft_wrap=True)


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder that `effbench train --out` has made.")],
    data_root: DataRoot = None,
    dataset: DatasetName = None,
    limit: Limit = None,
    short: Annotated[
        int | None, typer.Option(min=32, help="Pixels of the shorter side; default for real photos: the papers'.")
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(min=32, help="Most pixels of the longer side; default: the papers' ratio (1333/800, 2048/1024)."),
    ] = None,
    object_threshold: Annotated[float, typer.Option(min=0, max=1, help="The papers use 0.8.")] = 0.8,
    exit: Annotated[int | None, typer.Option(help="Of early_exit: score this exit; default: the last.")] = None,
    export: Annotated[Path | None, typer.Option(help="Folder for the predictions, as COCO panoptic JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Score a trained model on the validation images of real photos, or of the embedded set: PQ, mIoU and AP.

    mIoU_p and AP_p are those of the panoptic model: every class as semantic output, the things as instances.
    """
    from effbench.data.roots import TEST_SIZE, test_size
    from effbench.training import run as training
    from effbench.training.evaluate import Inference

    root = _photos(data_root, dataset)
    if root is not None or short is not None:
        paper_short, paper_longest = test_size(root) if root else TEST_SIZE["coco"]
        short = short or paper_short
        longest = longest or round(short * paper_longest / paper_short)
    how = Inference(short, longest or Inference.longest, object_threshold)
    with _progress("evaluating") as (display, title):
        scores = training.score(
            folder,
            root,
            limit,
            how,
            lambda done, total: display.progressed(title, {"done": done, "total": total}),
            export,
            exit,
        )
    table = Table("", "PQ", "SQ", "RQ", "classes", title=f"{scores['images']} images")
    groups = {group: scores[group] for group in ("all", "things", "stuff")} | scores["by_size"]
    for group, result in groups.items():
        table.add_row(group, *(f"{result[m]:.2f}" for m in ("pq", "sq", "rq")), str(result["categories"]))
    console.print(table)
    miou, ap = scores["miou"], scores["ap"]
    console.print(f"mIoU_p {miou['miou']:.2f} over {miou['classes']} classes")
    names = {"ap": "AP_p", "ap50": "AP50", "ap75": "AP75", "aps": "APs", "apm": "APm", "apl": "APl"}
    values = ", ".join(f"{name} {'-' if ap[key] is None else f'{ap[key]:.2f}'}" for key, name in names.items())
    console.print(f"{values} over {ap['categories']} thing classes")
    if export:
        console.print(f"Predictions: {export}", markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps(scores))


for command in (aa.aa, check.check, compare.compare, doctor.doctor, profile.profile):
    app.command(command.__name__)(command)


if __name__ == "__main__":
    main()

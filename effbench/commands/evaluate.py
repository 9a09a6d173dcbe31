"""`effbench eval`: every score of a trained model, at its deepest exit, at another, or where its gate says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from effbench.commands.options import (
    DataRoot,
    DatasetName,
    Folder,
    Json,
    Limit,
    Longest,
    ObjectThreshold,
    Short,
    inference,
    photos,
    progress,
)

if TYPE_CHECKING:
    from effbench.training.evaluate import Exit


def evaluate(
    folder: Folder,
    data_root: DataRoot = None,
    dataset: DatasetName = None,
    limit: Limit = None,
    short: Short = None,
    longest: Longest = None,
    object_threshold: ObjectThreshold = 0.8,
    exit: Annotated[
        str | None,
        typer.Option(
            help="Of early_exit: score this exit, or `gate`, where the gate of `effbench gate` says; default: the last."
        ),
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Folder for the predictions, as COCO panoptic JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Score a trained model on the validation images of real photos, or of the embedded set: PQ, mIoU and AP.

    mIoU_p and AP_p are those of the panoptic model: every class as semantic output, the things as instances.
    """
    from effbench.training import run as training

    console = Console()
    chosen = _exit(exit)
    root = photos(data_root, dataset)
    how = inference(root, short, longest, object_threshold)
    with progress(console, "evaluating") as (display, title):
        scores = training.score(
            folder,
            root,
            limit,
            how,
            lambda done, total: display.progressed(title, {"done": done, "total": total}),
            export,
            chosen,
        )
    _print(console, scores)
    if export:
        console.print(f"Predictions: {export}", markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps(scores))


def _exit(text: str | None) -> Exit:
    from effbench.errors import InputError

    if text is None:
        return None
    try:
        return "gate" if text == "gate" else int(text)
    except ValueError:
        raise InputError(f"exit {text!r}; expected gate, or a layer such as 3") from None


def _print(console: Console, scores: dict[str, Any]) -> None:
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
    if scores.get("exit") == "gate":
        left = ", ".join(f"{images} after layer {layer}" for layer, images in scores["histogram"].items())
        console.print(f"Exits by the gate: {left}; mean {scores['mean_exit']:.2f}", soft_wrap=True)
    elif "exit" in scores:
        console.print(f"All images left after layer {scores['exit']}")

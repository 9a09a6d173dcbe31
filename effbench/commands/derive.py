"""`effbench derive`: step B of ECO-M2F, for a model and data of one's own."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from effbench.commands.options import (
    DataRoot,
    DatasetName,
    Folder,
    Json,
    Longest,
    ObjectThreshold,
    Short,
    inference,
    photos,
    progress,
)


def derive(
    folder: Folder,
    data_root: DataRoot = None,
    dataset: DatasetName = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Derive from this many images of each split.")] = None,
    split: Annotated[list[str], typer.Option(help="Only this split, train or val. Repeatable.")] = [  # noqa: B006
        "train",
        "val",
    ],
    short: Short = None,
    longest: Longest = None,
    object_threshold: ObjectThreshold = 0.8,
    as_json: Json = False,
) -> None:
    """Step B of early exit: measure what every exit is worth for every image, into the model's folder.

    Takes a model that `effbench train early_exit --exit-loss weighted` has made. Of real photos, or of the embedded
    set, the training images are for the gate to learn from, the validation images for `effbench gate` to tell its
    worth: derived-train.jsonl and derived-val.jsonl. Interrupt it when you like: the same command goes on where it
    stopped.
    """
    from effbench.probes.derivation import best_exits, mean_pq
    from effbench.training.exit_run import derive_data, derived_file

    console = Console()
    root = photos(data_root, dataset)
    how = inference(root, short, longest, object_threshold)
    with progress(console, "deriving") as (display, title):
        found = derive_data(
            folder,
            root,
            split,
            limit,
            how,
            lambda which, done, total: display.progressed(title, {"done": done, "total": total, "phase": which}),
        )
    answer = {
        name: {
            "path": str(derived_file(folder, name)),
            "images": len(one.images),
            "best_exits": best_exits(one),
            "mean_pq": mean_pq(one),
            "provenance": dict(one.provenance),
        }
        for name, one in found.items()
    }
    console.print(_table(answer))
    for one in answer.values():
        console.print(f"Derived: {one['path']}", markup=False, soft_wrap=True)
    if as_json:
        print(json.dumps(answer))


def _table(answer: dict[str, dict[str, Any]]) -> Table:
    table = Table("exit", title="Images whose PQ is highest there, the earliest of several; mean of the images' PQ")
    for name, split in answer.items():
        table.add_column(f"{name}, of {split['images']}", justify="right")
        table.add_column("mean PQ", justify="right")
    splits = answer.values()
    for layer in next(iter(splits))["best_exits"]:
        cells = ((str(split["best_exits"][layer]), f"{split['mean_pq'][layer]:.2f}") for split in splits)
        table.add_row(layer, *(cell for pair in cells for cell in pair))
    return table

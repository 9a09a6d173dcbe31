"""Arguments and options that several commands share, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer
from rich.console import Console

if TYPE_CHECKING:
    from effbench.study.progress import ProgressDisplay
    from effbench.training.evaluate import Inference

System = Annotated[str, typer.Argument(help="A registered encoder: see `effbench list`.")]
Settings = Annotated[list[str], typer.Option("--set", help="One of the encoder's settings, as NAME=VALUE. Repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="Folder that `effbench train --out` has made.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of real photos: COCO panoptic or Cityscapes layout.")]
DatasetName = Annotated[
    str | None,
    typer.Option("--dataset", help="coco or cityscapes: the one in EFFBENCH_DATASETS, else in DETECTRON2_DATASETS."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate this many photos of the data root.")]
Short = Annotated[
    int | None, typer.Option(min=32, help="Pixels of the shorter side; default for real photos: the papers'.")
]
Longest = Annotated[
    int | None,
    typer.Option(min=32, help="Most pixels of the longer side; default: the papers' ratio (1333/800, 2048/1024)."),
]
ObjectThreshold = Annotated[float, typer.Option(min=0, max=1, help="The papers use 0.8.")]


def photos(data_root: Path | None, dataset: str | None) -> Path | None:
    """The folder of real photos that was asked for; None for the embedded set."""
    from effbench.data.roots import Dataset, find_root
    from effbench.errors import InputError

    if dataset is None:
        return data_root
    if dataset not in get_args(Dataset):
        raise InputError(f"no data set is called {dataset!r}; expected one of {', '.join(get_args(Dataset))}")
    return find_root(data_root, cast(Dataset, dataset))


def inference(root: Path | None, short: int | None, longest: int | None, object_threshold: float) -> Inference:
    """How images of `root` reach a model: by default at their own size, real photos at the papers'."""
    from effbench.data.roots import TEST_SIZE, test_size
    from effbench.training.evaluate import Inference

    if root is not None or short is not None:
        paper_short, paper_longest = test_size(root) if root else TEST_SIZE["coco"]
        short = short or paper_short
        longest = longest or round(short * paper_longest / paper_short)
    return Inference(short, longest or Inference.longest, object_threshold)


@contextmanager
def progress(console: Console, title: str) -> Iterator[tuple[ProgressDisplay, str]]:
    """A bar called `title` around what takes long."""
    from effbench.study.progress import ProgressDisplay

    with ProgressDisplay(console) as display:
        display.started(title)
        yield display, title

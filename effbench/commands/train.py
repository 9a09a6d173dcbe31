"""`effbench train`: a model of one's own choice, on data of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from effbench.commands.options import DataRoot, DatasetName, Settings, System, photos, progress


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
    alpha: Annotated[
        list[float] | None,
        typer.Option(
            help="Of --exit-loss weighted: an exit's weight, once for each; default: in proportion to its layer."
        ),
    ] = None,
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
        alphas=tuple(alpha or ()),
    )
    root = photos(data_root, dataset)
    model = {"encoder": system, "backbone": backbone, "num_queries": queries, **chosen}
    checked_device(device)
    console = Console()
    with process_group(device) as place, progress(console, f"{system} training") as (display, title):
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

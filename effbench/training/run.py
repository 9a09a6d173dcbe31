"""Train a model of one's own choice into a folder, and evaluate what lies in one."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root
from effbench.data.roots import open_split
from effbench.encoders.contract import exits_of
from effbench.errors import InputError
from effbench.files import replacing
from effbench.models.segmenter import Segmenter, build_segmenter
from effbench.quality import PanopticWriter
from effbench.study.cell import tuples
from effbench.study.data_root import identify
from effbench.training.checkpoint import check_same, load, save_atomic
from effbench.training.distributed import wait_for_all, world
from effbench.training.evaluate import Exit, Inference, evaluate, scores
from effbench.training.gate import TrainedGate, install
from effbench.training.trainer import Recipe, StepReport, Trainer

MODEL, WEIGHTS, UNFINISHED, GATE = "model.json", "weights.pt", "training.pt", "gate.pt"


def train(
    model: dict[str, Any],
    data_root: Path | None,
    recipe: Recipe,
    out: Path,
    on_step: Callable[[StepReport], None],
    workers: int = 0,
    device: str = "cpu",
) -> Path:
    """Train on the training images of `data_root` (None: of the embedded set) into `out`/weights.pt.

    Under torchrun every process of the group calls this, and the first one writes.

    A checkpoint in `out` is gone on from. `model` holds the arguments of `build_segmenter`; what is trained, and on
    what, is kept in `out`/model.json, and a folder that holds something else is refused with InputError.
    """
    with torch.device("meta"):
        build_segmenter(num_classes=1, **model)  # a bad setting is refused before any data is made
    data_root = data_root or embedded_root()
    data = open_split(data_root, "train")
    described = json.dumps(
        {
            "model": {**model, "num_classes": len(data.categories)},
            "data": identify(data_root, ["train"]),
            "recipe": asdict(recipe),
        },
        indent=1,
    )
    description = out / MODEL
    wait_for_all()  # before one of them writes what the others would take for an earlier training
    if not description.exists() and world().first:
        with replacing(description) as file:
            file.write(described.encode())
    wait_for_all()
    if _described(description) != json.loads(described):
        raise InputError(f"{description} describes another model, data set or recipe; name another folder or remove it")
    torch.manual_seed(recipe.seed)
    segmenter = build_segmenter(num_classes=len(data.categories), **model).to(device)
    Trainer(segmenter, data, len(data.categories), recipe, out / UNFINISHED, on_step, workers).run()
    if world().first:
        save_atomic(segmenter.state_dict(), out / WEIGHTS)
    return out / WEIGHTS


def load_model(folder: Path) -> Segmenter:
    """The trained model in `folder`. Raises InputError when there is none, or when its weights are another model's."""
    for name in (MODEL, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} not found; expected a folder that `effbench train --out` has finished")
    described = _described(folder / MODEL)
    try:
        segmenter = build_segmenter(**tuples(described["model"]))
    except (ValueError, TypeError) as error:
        raise InputError(f"{folder / MODEL} describes a model that cannot be built here: {error}") from error
    state = load(folder / WEIGHTS)
    check_same(segmenter.state_dict(), state, folder / WEIGHTS)
    segmenter.load_state_dict(state)
    return segmenter


def _described(path: Path) -> dict[str, Any]:
    """What `train` said about its model; InputError when the file says nothing of the kind."""
    try:
        described: dict[str, Any] = json.loads(path.read_bytes())
        described["model"]["num_classes"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} describes no model ({type(error).__name__}: {error}); expected what `effbench train --out` wrote, "
            "remove it and train again"
        ) from error
    return described


def open_data(folder: Path, data_root: Path, split: str, limit: int | None) -> CocoPanoptic:
    """The "train" or "val" images of `data_root`; InputError for other classes than the model in `folder` knows."""
    data = open_split(data_root, split, limit)
    classes = _described(folder / MODEL)["model"]["num_classes"]
    if classes != len(data.categories):
        raise InputError(
            f"the model in {folder} knows {classes} classes, {data.annotation_file} has {len(data.categories)}; "
            "expected the data set that it was trained on"
        )
    return data


def score(
    folder: Path,
    data_root: Path | None,
    limit: int | None,
    how: Inference,
    on_image: Callable[[int, int], None],
    export: Path | None = None,
    exit: Exit = None,
) -> dict[str, Any]:
    """The scores in percent of the model in `folder` on the validation images of `data_root` (None: embedded ones).

    `export` is a folder for the predictions as COCO panoptic JSON and PNGs (`PanopticWriter`); `exit` that of an
    early-exit encoder, by default its deepest, or "gate" for the gate in `folder`. Of such an encoder the answer also
    has `exit`, the images that left after each layer and the mean of these, and the recipe of the gate.

    Raises InputError when the data set has other classes than the model was trained on, when the model has no such
    exit or no gate of its own, and when `export` cannot be written to.
    """
    model = load_model(folder)
    exits = exits_of(model.encoder)
    if exit is not None and (not exits or exit not in (*exits, "gate")):
        allowed = ", ".join(map(str, exits)) + " or gate" if exits else "none, it has no early exits"
        raise InputError(f"exit {exit} of the model in {folder}; expected one of its exits: {allowed}")
    gate = _give_gate(folder, model) if exit == "gate" else None
    data = open_data(folder, data_root or embedded_root(), "val", limit)
    writer = PanopticWriter(export, data.categories) if export else None
    with writer or nullcontext():
        evaluation = evaluate(model, data, how, on_image, writer, exit)
    answer = {"images": len(evaluation.images), **scores(evaluation, data)}
    if exits:
        left = list(evaluation.exits.values())
        answer |= {
            "exit": exit or exits[-1],
            "histogram": {str(layer): left.count(layer) for layer in exits},
            "mean_exit": sum(left) / len(left),
            "gate": gate and dict(gate.recipe),
        }
    return answer


def _give_gate(folder: Path, model: Segmenter) -> TrainedGate:
    path = folder / GATE
    if not path.is_file():
        raise InputError(f"{path} not found; expected the gate that `effbench gate` trains for the model in {folder}")
    gate = TrainedGate.read(path)
    try:
        install(gate, model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return gate

"""What the probes of early exit share: a model that step A trained and what step B derived with it, made once each.

Both lie in the cache under names that hold all they depend on, as a warm start does: whichever probe comes first makes
them, the others wait or find them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from effbench.cache import cache_folder
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.roots import open_split
from effbench.encoders.registry import encoder_class
from effbench.models.segmenter import Segmenter
from effbench.probes.base import Context, segmenter
from effbench.probes.conditions import plain_conditions
from effbench.probes.training_options import data_root, parse_recipe, train, validation_sets
from effbench.study.cell import Cell
from effbench.study.source import source_hash
from effbench.training.checkpoint import load, save_atomic
from effbench.training.derived import Derived, derive
from effbench.training.evaluate import Inference
from effbench.training.gate import GateRecipe, TrainedGate, install, train_gate


@dataclass(frozen=True)
class Trained:
    """A model of step A, and how it came about.

    Attributes:
        model: on the cell's device, in evaluation mode.
        seconds: of its training, whenever that was.
        cached: whether it was found.
        path: of its weights.
    """

    model: Segmenter
    seconds: float
    cached: bool
    path: Path


def trained(cell: Cell, context: Context) -> Trained:
    """The cell's model after its `options["recipe"]`; trained now if it is not in the cache. Resumes after a kill."""
    recipe = parse_recipe(cell.options["recipe"])
    path = cache_folder() / f"early-exit-{_key(cell)}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model = segmenter(cell)
    with FileLock(path.with_suffix(".lock")), plain_conditions(cell, "early exit").applied():
        cached = path.exists()
        if not cached:
            unfinished = path.with_suffix(".partial")
            trainer = train(model, cell, context, unfinished, "step A")
            save_atomic({"model": model.state_dict(), "seconds": trainer.seconds}, path)
            unfinished.unlink(missing_ok=True)
        state = load(path)
    model.load_state_dict(state["model"])
    return Trained(model.eval(), state["seconds"], cached, path)


def gated(cell: Cell, context: Context) -> tuple[Trained, TrainedGate]:
    """The cell's model with the gate that step C trains by `options["gate"]`, and the gate."""
    model = trained(cell, context)
    gate = train_gate(derived(cell, context, model, "train")[0], GateRecipe(**cell.options["gate"]))
    install(gate, model.model)
    return model, gate


def derived(cell: Cell, context: Context, model: Trained, split: str) -> tuple[Derived, CocoPanoptic]:
    """What step B derives with the model on the cell's training ("train") or validation ("val") images."""
    how = Inference(**cell.options["inference"])
    if split == "train":
        name, data = "train", open_split(data_root(cell, context), "train", cell.options.get("derive_images"))
    else:
        name, data = validation_sets(cell, context)[0]
    label = f"{cell.dataset} {cell.size} {name} {len(data)}"
    path = model.path.with_name(f"{model.path.stem}-{split}-{_hash([label, cell.options['inference']])}.jsonl")
    with FileLock(path.with_suffix(".lock")), plain_conditions(cell, "early exit").applied():
        found = derive(
            model.model,
            data,
            how,
            path,
            label,
            lambda done, total: context.report(done=done, total=total, phase=f"step B, {split}"),
        )
    return found, data


def _key(cell: Cell) -> str:
    """All that the trained weights depend on."""
    parts: list[Any] = [
        [cell.encoder, dict(cell.settings), dict(cell.width), cell.backbone, dict(cell.backbone_settings)],
        [cell.decoder, dict(cell.decoder_settings), cell.classes, cell.queries, cell.dataset, cell.size],
        [cell.device, cell.dtype, cell.options.get("tf32")],
        [cell.options.get(name) for name in ("recipe", "warm_start", "train_images")],
        source_hash([__name__, "effbench.data.embedded", *encoder_class(cell.encoder).source_modules(cell.settings)]),
        torch.__version__,
    ]
    return _hash(parts)


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

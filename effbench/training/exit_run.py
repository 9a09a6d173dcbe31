"""Steps B and C of ECO-M2F for a model of one's own: derived data and gate lie in its folder, beside its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from effbench.data.embedded import embedded_root
from effbench.encoders.contract import EarlyExit, exits_of
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.study.data_root import identify
from effbench.training.derived import Derived, derive, fingerprint, identify_images, load
from effbench.training.evaluate import Inference
from effbench.training.gate import Choices, GateRecipe, target_exits, train_gate
from effbench.training.gate_value import gate_value
from effbench.training.run import GATE, load_model, open_data

SPLITS = ("train", "val")


def derived_file(folder: Path, split: str) -> Path:
    """Where step B writes what it derives from the "train" or "val" images."""
    return folder / f"derived-{split}.jsonl"


def derive_data(
    folder: Path,
    data_root: Path | None,
    splits: Sequence[str],
    limit: int | None,
    how: Inference,
    on_image: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> dict[str, Derived]:
    """Step B: split -> what the model in `folder` is worth at every exit for its images, kept in `derived_file`.

    Of `data_root` (None: the embedded set), `limit` images of each split. What is there is gone on from.

    Raises InputError for a split that is none, a model without early exits, a data set of other classes, and where the
    file was derived from something else.
    """
    for split in splits:
        if split not in SPLITS:
            raise InputError(f"split {split!r}; expected one of {', '.join(SPLITS)}")
    model, root = _early_exit_model(folder), data_root or embedded_root()
    data = {split: open_data(folder, root, split, limit) for split in splits}
    found = {}
    for split, images in data.items():
        path = derived_file(folder, split)
        with FileLock(path.with_suffix(".lock")):
            label = f"{split} of {identify(root)}"
            found[split] = derive(model, images, how, path, label, partial(on_image, split))
    return found


def make_gate(folder: Path, recipe: GateRecipe) -> dict[str, Any]:
    """Step C: train a gate from the derived data in `folder`, keep it there, and say what it is worth, as plain JSON.

    `value` has the fields of a `GateValue` over the validation images, in both its metrics; of the exits that the
    recipe's K leaves out, too.

    Raises InputError for a model without early exits, and for derived data that is missing, incomplete, or not of this
    model, its exits and one way of inference.
    """
    derived = _derived(folder, _early_exit_model(folder))
    began = time.perf_counter()
    gate = train_gate(derived["train"], recipe)
    seconds = time.perf_counter() - began
    gate.save(folder / GATE)
    targets = {split: target_exits(found, recipe.beta, recipe.k) for split, found in derived.items()}
    chosen = {split: gate.choose(found) for split, found in derived.items()}
    return {
        "path": str(folder / GATE),
        "recipe": asdict(recipe),
        "exits": list(gate.exits),
        "seconds": seconds,
        "images": {split: len(found.images) for split, found in derived.items()},
        "target": {split: _summary(layers, gate.exits) for split, layers in targets.items()},
        "chosen": {split: _summary(layers, gate.exits) for split, layers in chosen.items()},
        "value": {
            name: asdict(gate_value(derived["val"], chosen["val"], gate.exits, name)) for name in ("dataset", "image")
        },
    }


def _early_exit_model(folder: Path) -> Segmenter:
    model = load_model(folder)
    if not isinstance(model.encoder, EarlyExit):
        raise InputError(
            f"the model in {folder} has {type(model.encoder).__name__}, which has no early exits; expected a folder of "
            "`effbench train early_exit --exit-loss weighted --out`"
        )
    return model


def _derived(folder: Path, model: Segmenter) -> dict[str, Derived]:
    """What step B has derived with `model` for both splits, whole."""
    expected: Mapping[str, Any] = {"model": fingerprint(model), "exits": list(exits_of(model.encoder))}
    found: dict[str, Derived] = {}
    for split in SPLITS:
        path = derived_file(folder, split)
        if not path.is_file():
            raise InputError(f"{path} not found; expected what `effbench derive {folder} --split {split}` writes")
        derived = load(path, expected)
        of, images = derived.provenance["data"], derived.provenance["images"]
        if not of.startswith(f"{split} of "):
            raise InputError(f"{path} was derived from {of!r}; expected the {split} images, remove it and derive again")
        if (held := identify_images(list(derived.images))) != images:
            raise InputError(f"{path} holds {held}, expected {images}; give its `effbench derive` again, it goes on")
        found[split] = derived
        # the next one's as well
        expected = {**expected, "inference": derived.provenance["inference"], "data": of.replace(split, "val", 1)}
    return found


def _summary(layers: Choices, exits: Sequence[int]) -> dict[str, Any]:
    histogram = {str(exit): int(np.sum(layers == exit)) for exit in exits}
    return {"mean": float(layers.mean()), "histogram": histogram}

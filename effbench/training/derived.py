"""Step B of ECO-M2F: what every exit is worth for every image, from one pass of the encoder over each.

The derived data set also keeps what the gate would see of each image, so that a gate for another trade-off, or of other
exits, is trained from it alone, without a backbone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.encoders.contract import EarlyExit, exits_of
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.quality import ImageStats, PanopticMap, image_pq, match_segments, tally
from effbench.training.evaluate import Inference, answer, as_input

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DerivedImage:
    """One image: what the gate sees of it (dim,), and its panoptic statistics at every exit, in the exits' order."""

    pooled: tuple[float, ...]
    stats: tuple[ImageStats, ...]


@dataclass(frozen=True)
class Derived:
    """The derived data set.

    Attributes:
        provenance: what it was made from and how; see `provenance`.
        exits: layers that the images left after.
        images: image id -> what is known of it.
    """

    provenance: Mapping[str, Any]
    exits: tuple[int, ...]
    images: Mapping[int, DerivedImage]

    def quality(self) -> Floats:
        """PQ of every image (rows) at every exit (columns), from 0 to 1 as the paper's beta expects."""
        return np.array([[image_pq(stats) / 100 for stats in image.stats] for image in self.images.values()])

    def pooled(self) -> Floats:
        """What the gate sees of every image (N, dim)."""
        return np.array([image.pooled for image in self.images.values()])


_OF_A_RUN = {"training", "exits", "impl"}
"""Attributes of modules that change no exit's worth."""


def fingerprint(model: Segmenter) -> str:
    """16 hexadecimal digits of the SHA-256 of all modules, their settings and weights.

    All but the gate, which changes no exit's worth. A setting is an attribute that is a number, a text or a tuple of
    them: heads and points may change without a weight of another shape.
    """
    digest = hashlib.sha256()
    gate = model.encoder.gate if isinstance(model.encoder, EarlyExit) else None
    for name, module in model.named_modules():
        if module is gate:
            continue
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()} {_settings(module)}\0".encode())
        for own, value in sorted((*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))):
            if own in module.state_dict(keep_vars=True):
                digest.update(f"{own} {value.dtype} {tuple(value.shape)}\0".encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _settings(module: nn.Module) -> str:
    found = {name: value for name, value in vars(module).items() if name[0] != "_" and name not in _OF_A_RUN}
    plain = (bool, int, float, str)
    kept = {
        name: value
        for name, value in found.items()
        if isinstance(value, plain) or (isinstance(value, tuple) and all(isinstance(one, plain) for one in value))
    }
    return repr(sorted(kept.items()))


def provenance(model: Segmenter, data: CocoPanoptic, name: str, how: Inference) -> dict[str, Any]:
    """What a derived data set depends on: weights, exits, images and inference."""
    thresholds = {key: getattr(how, key) for key in ("short", "longest", "object_threshold", "overlap_threshold")}
    return {
        "model": fingerprint(model),
        "exits": list(exits_of(model.encoder)),
        "data": name,
        "images": identify_images(data.image_ids),
        "inference": thresholds,
    }


def identify_images(ids: Sequence[int]) -> str:
    """How many images these are, and 16 hexadecimal digits over their ids."""
    return f"{len(ids)} images {hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]}"


@torch.inference_mode()
def derive(
    model: Segmenter,
    data: CocoPanoptic,
    how: Inference,
    path: Path,
    name: str,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> Derived:
    """Measure every image of `data`, called `name`, at every exit, into `path`; what is there stays.

    Raises InputError when `path` holds another derived data set, and for an encoder without exits.
    """
    if not isinstance(model.encoder, EarlyExit):
        raise InputError(f"{type(model.encoder).__name__} has no early exits; expected the encoder early_exit")
    model.eval()
    made_from = provenance(model, data, name, how)
    known = _open(path, made_from)
    things = data.categories.things
    with path.open("a") as file:
        for i in range(len(data)):
            if data.image_ids[i] not in known:
                sample = data[i]
                derived = _measured(model, sample, things, how)
                row = {
                    "image": sample.image_id,
                    "pooled": derived.pooled,
                    "stats": [s.to_json() for s in derived.stats],
                }
                file.write(json.dumps(row) + "\n")
                file.flush()
            on_image(i + 1, len(data))
    return load(path, made_from)


def load(path: Path, expected: Mapping[str, Any] | None = None) -> Derived:
    """What `derive` wrote.

    Raises InputError when the file holds anything else, or was made from something else than `expected`, which may be
    a part of a `provenance`.
    """
    try:
        first, *rows = [
            json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")
        ]
        found, images = first["provenance"], {}
        exits = tuple(found["exits"])
        for row in rows:
            stats = tuple(ImageStats.from_json(stats) for stats in row["stats"])
            if len(stats) != len(exits):
                raise ValueError(f"image {row['image']} has {len(stats)} exits")
            images[int(row["image"])] = DerivedImage(tuple(row["pooled"]), stats)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no derived data set ({type(error).__name__}: {error}); expected what step B wrote, "
            "remove it and derive again"
        ) from error
    differing = [
        f"{key} {found.get(key)!r}, expected {value!r}"
        for key, value in (expected or {}).items()
        if found.get(key) != value
    ]
    if differing:
        raise InputError(
            f"{path} was derived from something else: {'; '.join(differing)}; "
            "name another file, or remove it and derive again"
        )
    return Derived(found, exits, images)


def _open(path: Path, made_from: Mapping[str, Any]) -> set[int]:
    """The images that `path` has already; a torn last line, which only a kill leaves, is cut off.

    Nothing is written into a file that holds anything else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"provenance": made_from}).encode() + b"\n"
    found = path.read_bytes() if path.exists() else b""
    if header.startswith(found):  # nothing yet, or torn in the first line
        path.write_bytes(header)
        return set()
    known = load(path, made_from)
    os.truncate(path, len(found.rpartition(b"\n")[0]) + 1)
    return set(known.images)


def _measured(model: Segmenter, sample: Sample, things: frozenset[int] | set[int], how: Inference) -> DerivedImage:
    image, truth = as_input(model, sample, how), PanopticMap(sample.id_map, sample.segments)
    features = model.backbone(model.prepare(image))
    assert isinstance(model.encoder, EarlyExit), "checked before"
    pooled = model.encoder.pooled(features)[0]
    panoptic = replace(how, semantic=False, instances=False)
    stats = []
    for output in model.every_exit(features):
        found = answer(output, image, sample, things, panoptic).panoptic
        stats.append(tally(match_segments(truth, found)))
    return DerivedImage(tuple(pooled.tolist()), tuple(stats))

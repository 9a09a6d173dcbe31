"""The embedded procedural set on disk, in COCO panoptic layout: quality can be measured on any machine."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from effbench.cache import cache_folder
from effbench.data import embedded_categories, embedded_recipe, embedded_scene, embedded_shapes, embedded_things
from effbench.data.coco_panoptic import encode_ids
from effbench.data.embedded_categories import CATEGORIES
from effbench.data.embedded_recipe import SPLIT_SEEDS, shares
from effbench.data.embedded_scene import IdMap, check_size, generate
from effbench.data.embedded_writer import Progress, write_images
from effbench.errors import InputError

__all__ = ["DEFAULT_COUNTS", "embedded_root", "generate"]

# All that decides a pixel or an annotation; which process writes it does not.
SOURCES = (
    embedded_categories,
    embedded_recipe,
    embedded_shapes,
    embedded_things,
    embedded_scene,
    sys.modules[__name__],
)
DEFAULT_COUNTS: Mapping[str, int] = {"train2017": 2000, "tune2017": 150, "val2017": 300}


def embedded_root(
    part: str = "base",
    size: int = 128,
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    cache: Path | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> Path:
    """Folder of the generated set for `CocoPanoptic`, made on the first call and reused afterwards.

    part: one of `embedded_recipe.PARTS` or `MIXES`; all have the same categories. size: image side in pixels.
    counts: images per split. cache: parent folder, by default `EFFBENCH_CACHE`, else `$XDG_CACHE_HOME/effbench`,
    else `~/.cache/effbench`. progress: called with (images done, images in all) while generating. workers: processes
    that make a large set, whose files are the same for any number. The folder's name holds a hash of recipe,
    generator source and counts, so a changed recipe never meets old images. A second process waits for the first;
    an interrupted run leaves nothing that a later call would take for whole, and the next call goes on with it.

    Raises InputError for an unknown part or split, a count below 1, a size below 64 or an unusable cache.
    """
    shares(part)
    unknown = sorted(set(counts) - set(SPLIT_SEEDS))
    if unknown or not counts or min(counts.values()) < 1:
        raise InputError(
            f"image counts {dict(counts)} of the embedded set; expected at least 1 image for splits "
            f"among {', '.join(SPLIT_SEEDS)}"
        )
    check_size(size)
    parent = cache_folder() if cache is None else Path(cache)
    root = parent / f"{part}-{size}px-{_fingerprint(part, size, counts)}"
    if root.is_dir():
        return root
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / f".{root.name}.lock"):
            if not root.is_dir():
                _make(root, part, size, counts, workers, progress)
    except OSError as error:
        raise InputError(
            f"{parent}: the embedded set cannot be written there ({error}); expected a writable folder with "
            "room, name another in EFFBENCH_CACHE"
        ) from error
    return root


def _make(root: Path, part: str, size: int, counts: Mapping[str, int], workers: int, progress: Progress | None) -> None:
    # The lock dies with its process, so whoever holds it may go on with what a killed run left behind.
    unfinished = root.with_name(f".{root.name}.partial")
    for split in counts:
        for folder in (split, f"panoptic_{split}", "annotations"):
            (unfinished / folder).mkdir(parents=True, exist_ok=True)
    write = functools.partial(_write_scene, unfinished, part, size)
    for split, entries in write_images(write, counts, unfinished / "made", workers, progress).items():
        images, annotations = zip(*entries, strict=True)
        content = {"images": images, "annotations": annotations, "categories": _categories_json()}
        (unfinished / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content), encoding="utf-8")
    shutil.rmtree(unfinished / "made")
    os.rename(unfinished, root)


def _write_scene(root: Path, part: str, size: int, split: str, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes JPEG and PNG of one scene; returns its entries of 'images' and 'annotations'."""
    pixels, id_map, segments = generate(part, SPLIT_SEEDS[split], index, size)
    image_id = index + 1
    name = f"{image_id:012d}"
    Image.fromarray(pixels).save(root / split / f"{name}.jpg", quality=95)
    Image.fromarray(encode_ids(id_map)).save(root / f"panoptic_{split}" / f"{name}.png")
    segments_info = [
        {
            "id": segment.id,
            "category_id": CATEGORIES[segment.category].id,
            "iscrowd": 0,
            "area": segment.area,
            "bbox": _bbox(id_map, segment.id),
        }
        for segment in segments
    ]
    return (
        {"id": image_id, "file_name": f"{name}.jpg", "height": size, "width": size},
        {"image_id": image_id, "file_name": f"{name}.png", "segments_info": segments_info},
    )


def _bbox(id_map: IdMap, segment_id: int) -> list[int]:
    """COCO's x, y, width, height in pixels."""
    mask = id_map == segment_id
    x, y = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return [int(x[0]), int(y[0]), int(x[-1] - x[0] + 1), int(y[-1] - y[0] + 1)]


def _categories_json() -> list[dict[str, Any]]:
    return [
        {"id": row.id, "name": row.name, "isthing": int(row.isthing), "color": list(row.color)} for row in CATEGORIES
    ]


def _fingerprint(part: str, size: int, counts: Mapping[str, int]) -> str:
    digest = hashlib.sha256(repr((part, size, sorted(counts.items()))).encode())
    for module in SOURCES:
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:12]

"""Cityscapes with its official panoptic conversion: the COCO format, with other folders and image names."""

from __future__ import annotations

from pathlib import Path

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.errors import InputError


def open_cityscapes(root: str | Path, split: str = "val", limit: int | None = None) -> CocoPanoptic:
    """Cityscapes fine annotations: 19 classes (8 things, 11 stuff) in the order of its trainIds, 1024 x 2048 pixels.

    Reads `<root>/leftImg8bit/<split>/<city>/*_leftImg8bit.png`, and what cityscapesScripts' createPanopticImgs.py
    writes: `<root>/gtFine/cityscapes_panoptic_<split>.json` and the folder of PNGs of the same name. Its image ids
    are names; an image's integer id is the position of its name in sorted order, `file_name` is the file's own.

    Raises InputError as `CocoPanoptic` does, and with the command to run where the conversion is missing.
    """
    annotation_file = check_layout(Path(root), split)
    images_dir = Path(root) / "leftImg8bit" / split
    return CocoPanoptic.from_files(images_dir, annotation_file.with_suffix(""), annotation_file, limit, _locate)


def check_layout(root: Path, split: str) -> Path:
    """The annotation file of a split; raises InputError when it or one of the two image folders is missing."""
    images_dir = root / "leftImg8bit" / split
    if not images_dir.is_dir():
        raise InputError(
            f"{images_dir} not found; expected Cityscapes' images in it, one folder per city; correct the path or "
            "unpack leftImg8bit_trainvaltest.zip there"
        )
    annotation_file = root / "gtFine" / f"cityscapes_panoptic_{split}.json"
    panoptic_dir = annotation_file.with_suffix("")
    missing = [] if panoptic_dir.is_dir() else [str(panoptic_dir)]
    missing += [] if annotation_file.is_file() else [str(annotation_file)]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not found; expected Cityscapes' panoptic conversion, unpack "
            "gtFine_trainvaltest.zip and make it with: pip install cityscapesscripts && csCreatePanopticImgs "
            f"--dataset-folder {root / 'gtFine'} --set-names train val"
        )
    return annotation_file


def _locate(file_name: str) -> str:
    """`<city>/<city>_..._leftImg8bit.png`: the conversion puts "gtFine" into the names and leaves the city out."""
    return f"{file_name.partition('_')[0]}/{file_name.replace('_gtFine_', '_')}"

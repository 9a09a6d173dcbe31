"""The one reader for the COCO panoptic layout, so that real and generated data take the same path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from effbench.data.annotations import Categories, Category, Record, Segment, parse
from effbench.errors import InputError

__all__ = ["Categories", "Category", "CocoPanoptic", "Sample", "Segment", "check_layout", "decode_ids", "encode_ids"]


@dataclass(frozen=True)
class Sample:
    """image: uint8 (3, H, W) RGB; id_map: int32 (H, W) of segment ids, 0 = void; segments: N >= 0 rows.

    `image_id` is unique in the data set; `own_id` is the annotation file's own id, by which other tools know the
    image. The two differ where the file's ids are names (Cityscapes).
    """

    image: torch.Tensor
    id_map: torch.Tensor
    segments: tuple[Segment, ...]
    image_id: int
    file_name: str
    own_id: int | str


class CocoPanoptic(torch.utils.data.Dataset[Sample]):
    """Images with panoptic ground truth, sorted by image id (the order of COCO's own tools).

    Reads `<root>/annotations/panoptic_<split>.json`, `<root>/<split>/` and `<root>/panoptic_<split>/`
    (format: https://cocodataset.org/#format-data, section 4). Pixels no segment covers are void, so
    annotations of things alone are valid.

    Raises InputError: on construction for missing folders or files, a malformed annotation file, an image
    without annotation or the reverse, or an unknown category; on reading for images that cannot be decoded as a
    whole, sizes that disagree and segment ids that differ between PNG and JSON.
    """

    categories: Categories
    annotation_file: Path

    def __init__(self, root: str | Path, split: str = "val2017", limit: int | None = None) -> None:
        self._setup(*_layout(Path(root), split), limit)

    @classmethod
    def from_files(
        cls,
        images_dir: str | Path,
        panoptic_dir: str | Path,
        annotation_file: str | Path,
        limit: int | None = None,
        locate: Callable[[str], str] | None = None,
    ) -> CocoPanoptic:
        """The same reader for folders that are named otherwise.

        `locate` maps an image's file name in the annotation file to its path below `images_dir`.
        """
        dataset = cls.__new__(cls)
        dataset._setup(Path(images_dir), Path(panoptic_dir), Path(annotation_file), limit, locate)
        return dataset

    def _setup(
        self,
        images_dir: Path,
        panoptic_dir: Path,
        annotation_file: Path,
        limit: int | None,
        locate: Callable[[str], str] | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1 image, or None for all")
        _check_layout(images_dir, panoptic_dir, annotation_file)
        self.annotation_file = annotation_file
        self.categories, self._records = parse(annotation_file, images_dir, panoptic_dir, limit, locate)

    @property
    def image_ids(self) -> list[int]:
        """`image_id` of every image, from the annotation file alone."""
        return [record.image_id for record in self._records]

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of every image, from the annotation file alone."""
        return [(record.height, record.width) for record in self._records]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        record = self._records[index]
        image = _read_rgb(record.image_path)
        ids = decode_ids(_read_rgb(record.panoptic_path))
        stated = (record.height, record.width)
        if image.shape[:2] != stated:
            raise InputError(
                f"{record.image_path}: image is {_hw(image.shape)}, {self.annotation_file} says "
                f"{_hw(stated)}; expected equal sizes, restore the original image"
            )
        if ids.shape != stated:
            raise InputError(
                f"{record.panoptic_path}: panoptic PNG is {_hw(ids.shape)}, its image is {_hw(stated)}; "
                "expected equal sizes, restore the original PNG"
            )
        self._check_ids(record, ids)
        return Sample(
            image=torch.from_numpy(image).permute(2, 0, 1).contiguous(),
            id_map=torch.from_numpy(ids),
            segments=record.segments,
            image_id=record.image_id,
            file_name=record.file_name,
            own_id=record.own_id,
        )

    def _check_ids(self, record: Record, ids: npt.NDArray[np.int32]) -> None:
        in_png = set(np.unique(ids).tolist()) - {0}
        in_json = {segment.id for segment in record.segments}
        if in_png != in_json:
            raise InputError(
                f"{record.panoptic_path}: PNG and JSON disagree, segment ids only in the PNG "
                f"{sorted(in_png - in_json)[:5]}, only in {self.annotation_file} "
                f"{sorted(in_json - in_png)[:5]}; expected the same ids, take both from one release"
            )


def decode_ids(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Segment ids int32 (H, W) of a panoptic PNG uint8 (H, W, 3): R + 256 G + 65536 B."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16


def encode_ids(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Inverse of `decode_ids` for ids below 2**24."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def check_layout(root: Path, split: str) -> Path:
    """The annotation file of a split; raises InputError when it or one of the two image folders is missing."""
    paths = _layout(root, split)
    _check_layout(*paths)
    return paths[-1]


def _layout(root: Path, split: str) -> tuple[Path, Path, Path]:
    """Images, panoptic PNGs, annotation file."""
    return root / split, root / f"panoptic_{split}", root / "annotations" / f"panoptic_{split}.json"


def _check_layout(images_dir: Path, panoptic_dir: Path, annotation_file: Path) -> None:
    missing = [str(path) for path in (images_dir, panoptic_dir) if not path.is_dir()]
    missing += [str(annotation_file)] if not annotation_file.is_file() else []
    if missing:
        raise InputError(
            f"{', '.join(missing)} not found; expected the COCO panoptic layout: images in {images_dir}/, "
            f"PNGs in {panoptic_dir}/ and annotations in {annotation_file}; "
            "correct the path or unpack the set there"
        )


def _read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            # A copy, because torch refuses to share PIL's read-only buffer.
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # each is raised by some damage
        raise InputError(
            f"{path}: cannot be read as an image ({error}); expected a whole JPEG or PNG, copy the file again"
        ) from error


def _hw(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]} (height x width)"

"""The one reader for the COCO panoptic layout, so that real and generated data take the same path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from effbench.errors import InputError


@dataclass(frozen=True)
class Category:
    """One class as the annotation file has it; `id` is the dataset's own, possibly non-contiguous number."""

    id: int
    name: str
    isthing: bool
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Categories:
    """K classes in the order of the annotation file; the position is the contiguous index 0..K-1."""

    rows: tuple[Category, ...]
    _index: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {row.id: index for index, row in enumerate(self.rows)})
        if len(self._index) != len(self.rows):
            raise InputError("two categories share one id; expected unique category ids, correct the list")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Category:
        return self.rows[index]

    def __iter__(self) -> Iterator[Category]:
        return iter(self.rows)

    def __contains__(self, category_id: object) -> bool:
        return category_id in self._index

    def index_of(self, category_id: int) -> int:
        """Contiguous index of a dataset category id."""
        return self._index[category_id]

    @property
    def things(self) -> frozenset[int]:
        """Contiguous indices of the thing classes."""
        return frozenset(index for index, row in enumerate(self.rows) if row.isthing)

    @property
    def stuff(self) -> frozenset[int]:
        """Contiguous indices of the stuff classes."""
        return frozenset(index for index, row in enumerate(self.rows) if not row.isthing)


@dataclass(frozen=True)
class Segment:
    """One annotated segment; `category` is a contiguous index and `area` is in pixels."""

    id: int
    category: int
    isthing: bool
    iscrowd: bool
    area: int


@dataclass(frozen=True)
class Sample:
    """image: uint8 (3, H, W) RGB; id_map: int32 (H, W) of segment ids, 0 = void; segments: N >= 0 rows."""

    image: torch.Tensor
    id_map: torch.Tensor
    segments: tuple[Segment, ...]
    image_id: int
    file_name: str


@dataclass(frozen=True)
class _Record:
    image_id: int
    file_name: str
    image_path: Path
    panoptic_path: Path
    height: int
    width: int
    segments: tuple[Segment, ...]


class CocoPanoptic(torch.utils.data.Dataset[Sample]):
    """Images with panoptic ground truth, sorted by image id (the order of COCO's own tools).

    Reads `<root>/annotations/panoptic_<split>.json`, `<root>/<split>/` and `<root>/panoptic_<split>/`
    (format: https://cocodataset.org/#format-data, section 4). Pixels no segment covers are void, so
    annotations of things alone are valid.

    Raises InputError: on construction for missing folders or files, a malformed annotation file, an image
    without annotation or an unknown category; on reading for images that cannot be decoded, sizes that
    disagree and segment ids that differ between PNG and JSON.
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
    ) -> CocoPanoptic:
        """The same reader for folders that are named otherwise."""
        dataset = cls.__new__(cls)
        dataset._setup(Path(images_dir), Path(panoptic_dir), Path(annotation_file), limit)
        return dataset

    def _setup(self, images_dir: Path, panoptic_dir: Path, annotation_file: Path, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}; expected at least 1 image, or None for all")
        _check_layout(images_dir, panoptic_dir, annotation_file)
        self.annotation_file = annotation_file
        content = _load_json(annotation_file)
        try:
            self.categories = _parse_categories(content)
            self._records = _parse_records(content, self.categories, images_dir, panoptic_dir, annotation_file, limit)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{annotation_file}: not in the COCO panoptic format ({type(error).__name__}: {error}); "
                "expected 'images', 'annotations' and 'categories' with COCO's fields, download it again"
            ) from error

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
        )

    def _check_ids(self, record: _Record, ids: npt.NDArray[np.int32]) -> None:
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


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}); expected a COCO panoptic annotation file, download it again"
        ) from error
    return content


def _parse_categories(content: dict[str, Any]) -> Categories:
    rows = []
    for row in content["categories"]:
        red, green, blue = row["color"]
        rows.append(Category(int(row["id"]), row["name"], bool(row["isthing"]), (red, green, blue)))
    return Categories(tuple(rows))


def _parse_records(
    content: dict[str, Any],
    categories: Categories,
    images_dir: Path,
    panoptic_dir: Path,
    annotation_file: Path,
    limit: int | None,
) -> list[_Record]:
    images = sorted(content["images"], key=lambda image: int(image["id"]))[:limit]
    if not images:
        raise InputError(f"{annotation_file}: lists no images; expected at least one, take a full annotation file")
    annotations = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    records = []
    for image in images:
        annotation = annotations.get(image["id"])
        if annotation is None:
            raise InputError(
                f"{annotation_file}: image {image['id']} ({image['file_name']}) has no annotation; expected "
                "one per image, remove the image from 'images' or add its annotation"
            )
        record = _Record(
            image_id=int(image["id"]),
            file_name=image["file_name"],
            image_path=images_dir / image["file_name"],
            panoptic_path=panoptic_dir / annotation["file_name"],
            height=int(image["height"]),
            width=int(image["width"]),
            segments=_parse_segments(annotation, categories, annotation_file),
        )
        for path in (record.image_path, record.panoptic_path):
            if not path.is_file():
                raise InputError(
                    f"{path}: file not found; expected it because {annotation_file} lists image "
                    f"{record.image_id}, complete the folder or remove the image from the annotation file"
                )
        records.append(record)
    return records


def _parse_segments(annotation: dict[str, Any], categories: Categories, annotation_file: Path) -> tuple[Segment, ...]:
    segments = []
    for info in annotation["segments_info"]:
        if info["category_id"] not in categories:
            raise InputError(
                f"{annotation_file}: image {annotation['image_id']} has a segment of unknown category id "
                f"{info['category_id']}; expected one of the file's {len(categories)} 'categories', "
                "add it there"
            )
        category = categories.index_of(info["category_id"])
        segments.append(
            Segment(
                id=int(info["id"]),
                category=category,
                isthing=categories[category].isthing,
                iscrowd=bool(info.get("iscrowd", 0)),
                area=int(info["area"]),
            )
        )
    return tuple(segments)


def _read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            # A copy, because torch refuses to share PIL's read-only buffer.
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as an image ({error}); expected a whole JPEG or PNG, copy the file again"
        ) from error


def _hw(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]} (height x width)"

"""The COCO panoptic annotation file: what it says, and every way in which it may be wrong, told before training.

Cityscapes' panoptic conversion has the same format (https://cocodataset.org/#format-data, section 4).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)  # COCO has over a million, and every loading process holds them
class Segment:
    """One annotated segment; `category` is a contiguous index and `area` is in pixels."""

    id: int
    category: int
    isthing: bool
    iscrowd: bool
    area: int


@dataclass(frozen=True, slots=True)
class Record:
    """One image of the annotation file, with its two files; height and width in pixels.

    `own_id` is the file's own id, a name in Cityscapes; `image_id` is an integer everywhere.
    """

    image_id: int
    own_id: int | str
    file_name: str
    image_path: Path
    panoptic_path: Path
    height: int
    width: int
    segments: tuple[Segment, ...]


def parse(
    annotation_file: Path,
    images_dir: Path,
    panoptic_dir: Path,
    limit: int | None = None,
    locate: Callable[[str], str] | None = None,
) -> tuple[Categories, list[Record]]:
    """The categories and the first `limit` records in the order of image ids.

    `locate` maps an image's file name to its path below `images_dir`, where that is not the name itself. Ids that
    are names (Cityscapes) become their positions in sorted order; `Record.own_id` keeps the names.

    Raises InputError when the file is no whole JSON or lacks a field, when images and annotations do not belong
    together, for an unknown category, for two segments of an image with one id and for a missing image or PNG.
    """
    content = _load_json(annotation_file)
    with _reading(f"{annotation_file}:"):
        images = sorted(content["images"], key=lambda image: image["id"])
        annotations = {annotation["image_id"]: annotation for annotation in content["annotations"]}
        rows = list(content["categories"])
        _check_pairs([image["id"] for image in images], content["annotations"], annotations)
    categories = _parse_categories(annotation_file, rows)
    records = []
    for position, image in enumerate(images[:limit]):
        with _reading(f"{annotation_file}: image {image['id']}"):
            annotation = annotations[image["id"]]
            own_id = image["id"] if isinstance(image["id"], str) else int(image["id"])
            record = Record(
                image_id=position if isinstance(own_id, str) else own_id,
                own_id=own_id,
                file_name=image["file_name"],
                image_path=images_dir / (locate(image["file_name"]) if locate else image["file_name"]),
                panoptic_path=panoptic_dir / annotation["file_name"],
                height=int(image["height"]),
                width=int(image["width"]),
                segments=tuple(_parse_segments(annotation, categories)),
            )
        for path in (record.image_path, record.panoptic_path):
            if not path.is_file():
                raise InputError(
                    f"{path}: file not found; expected it because {annotation_file} lists image "
                    f"{image['id']}, complete the folder or remove the image from the annotation file"
                )
        records.append(record)
    return categories, records


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}); expected a COCO panoptic annotation file, download it again"
        ) from error


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Names the part of the file that a missing or malformed field belongs to."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"has no field {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f"{what} not in the COCO panoptic format ({problem}); expected 'images', 'annotations' and "
            "'categories' with COCO's fields, download it again"
        ) from error


def _check_pairs(ids: list[Any], rows: list[Any], annotations: dict[Any, Any]) -> None:
    """One annotation per image, and one image per annotation."""
    if not ids:
        raise InputError("lists no images; expected at least one, take a full annotation file")
    listed = set(ids)
    if len(listed) != len(ids) or len(annotations) != len(rows):
        raise InputError("an image id occurs twice; expected one image and one annotation per id, remove the others")
    for image_id in ids:
        if image_id not in annotations:
            raise InputError(
                f"image {image_id} has no annotation; expected one per image, remove the image from 'images' or "
                "add its annotation"
            )
    for image_id in annotations:
        if image_id not in listed:
            raise InputError(
                f"annotation of image {image_id}, which is not listed; expected every annotation's image in "
                "'images', add it there or remove the annotation"
            )


def _parse_categories(annotation_file: Path, rows: list[Any]) -> Categories:
    categories = []
    for position, row in enumerate(rows):
        with _reading(f"{annotation_file}: category {position + 1} of {len(rows)}"):
            red, green, blue = row["color"]
            categories.append(Category(int(row["id"]), row["name"], bool(row["isthing"]), (red, green, blue)))
    with _reading(f"{annotation_file}:"):
        return Categories(tuple(categories))


def _parse_segments(annotation: dict[str, Any], categories: Categories) -> Iterator[Segment]:
    seen: set[int] = set()
    for info in annotation["segments_info"]:
        segment_id = int(info["id"])
        if segment_id in seen:
            raise InputError(
                f"has two segments of id {segment_id}; expected ids that are unique in an image, correct its "
                "'segments_info'"
            )
        seen.add(segment_id)
        if info["category_id"] not in categories:
            raise InputError(
                f"has a segment of unknown category id {info['category_id']}; expected one of the file's "
                f"{len(categories)} 'categories', add it there"
            )
        category = categories.index_of(info["category_id"])
        yield Segment(
            id=segment_id,
            category=category,
            isthing=categories[category].isthing,
            iscrowd=bool(info.get("iscrowd", 0)),
            area=int(info["area"]),
        )

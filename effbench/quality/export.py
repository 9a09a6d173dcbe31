"""Panoptic maps as files in COCO's panoptic format, so that anybody's scorer can read what was predicted."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from effbench.data.coco_panoptic import Categories, encode_ids
from effbench.errors import InputError
from effbench.files import replacing
from effbench.quality.panoptic import VOID, PanopticMap, integer_map

JSON, PNGS = "panoptic.json", "panoptic"


class PanopticWriter:
    """Writes `folder`/panoptic.json and a PNG per image in `folder`/panoptic/, named after the image's own id.

    The format is https://cocodataset.org/#format-data, section 4, with the data set's own category and image ids, as
    `CocoPanoptic.from_files` and panopticapi read it. A context manager: the JSON appears, whole, when the block ends
    without an exception; a folder without it is not finished.

    Raises InputError when `folder` cannot be written to or holds a panoptic.json already, and at the end of the block
    when the JSON cannot be written.
    """

    def __init__(self, folder: str | Path, categories: Categories) -> None:
        self.folder, self.categories = Path(folder), categories
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._written: set[str] = set()
        if (self.folder / JSON).exists():
            raise InputError(f"{self.folder / JSON} exists; expected a folder without one, name another or remove it")
        try:
            (self.folder / PNGS).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass  # says now, not after hours, whether the folder can be written to
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written to ({error.strerror}); expected a folder for files, name another"
            ) from error

    def add(self, own_id: int | str, file_name: str, image: PanopticMap) -> None:
        """Write one image's map; `own_id` is the annotation file's (`Sample.own_id`), `file_name` the photo's.

        Raises InputError when the image was added before, when its id cannot name a file, when map and table hold
        different ids or an id of 2^24 and more, and when the PNG cannot be written.
        """
        png = _png_name(own_id)
        if png in self._written:
            raise InputError(f"image {own_id} is added twice; expected each image once")
        self._written.add(png)
        ids = integer_map(image.id_map, "panoptic map")
        listed, rank = np.unique(ids, return_inverse=True)
        _check_ids(own_id, listed, image)
        areas = np.bincount(rank.ravel(), minlength=len(listed))
        boxes = ndimage.find_objects(rank.reshape(ids.shape) + 1)
        place = {int(id_): at for at, id_ in enumerate(listed)}
        rows = []
        for segment in image.segments:
            at = place[segment.id]
            y, x = boxes[at]
            rows.append(
                {
                    "id": int(segment.id),
                    "category_id": self.categories[segment.category].id,
                    "area": int(areas[at]),
                    "bbox": [x.start, y.start, x.stop - x.start, y.stop - y.start],
                    "iscrowd": int(segment.iscrowd),
                }
            )
        try:
            Image.fromarray(encode_ids(ids.astype(np.int32))).save(self.folder / PNGS / png)
        except OSError as error:
            raise InputError(
                f"{self.folder / PNGS / png} cannot be written ({error}); expected a folder with space left"
            ) from error
        height, width = ids.shape
        self._images.append({"id": own_id, "file_name": file_name, "height": height, "width": width})
        self._annotations.append({"image_id": own_id, "file_name": png, "segments_info": rows})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        categories = [
            {"id": row.id, "name": row.name, "isthing": int(row.isthing), "color": list(row.color)}
            for row in self.categories
        ]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        with replacing(self.folder / JSON) as file:
            file.write(json.dumps(content).encode())


def _png_name(own_id: int | str) -> str:
    """As COCO names its PNGs where ids are numbers; a name is kept, so that it must not lead to another folder."""
    if not isinstance(own_id, str):
        return f"{own_id:012d}.png"
    if not own_id or "/" in own_id or "\0" in own_id:
        raise InputError(
            f"image id {own_id!r} cannot name a file; expected a name without '/', correct the annotation file's ids"
        )
    return f"{own_id}.png"


def _check_ids(own_id: int | str, listed: npt.NDArray[Any], image: PanopticMap) -> None:
    in_map, in_table = set(listed.tolist()) - {VOID}, [s.id for s in image.segments]
    if in_map != set(in_table) or len(in_table) != len(in_map):
        raise InputError(
            f"image {own_id}: its map has ids {sorted(in_map)[:10]}, its table {sorted(in_table)[:10]}; "
            "expected the same ids, each listed once"
        )
    if wrong := [id_ for id_ in in_map if not 0 < id_ < 2**24]:
        raise InputError(f"image {own_id} has ids {wrong[:10]}; expected ids from 1 to 2^24 - 1, a PNG's three bytes")

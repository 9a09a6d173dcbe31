"""Panoptic maps as files in COCO's panoptic format, so that anybody's scorer can read what was predicted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from effbench.data.coco_panoptic import Categories, encode_ids
from effbench.errors import InputError
from effbench.quality.panoptic import VOID, PanopticMap, integer_map

JSON, PNGS = "panoptic.json", "panoptic"


class PanopticWriter:
    """Writes `folder`/panoptic.json and a PNG per image, `folder`/panoptic/<image id in 12 digits>.png.

    The format is https://cocodataset.org/#format-data, section 4, with the data set's own category ids, as
    `CocoPanoptic.from_files` and panopticapi read it. A context manager: the JSON appears, whole, when the block ends
    without an exception; a folder without it is not finished.

    Raises InputError when `folder` cannot be written to or holds a panoptic.json already.
    """

    def __init__(self, folder: str | Path, categories: Categories) -> None:
        self.folder, self.categories = Path(folder), categories
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._seen: set[int] = set()
        self._unfinished = self.folder / f".{JSON}.part"
        if (self.folder / JSON).exists():
            raise InputError(f"{self.folder / JSON} exists; expected a folder without one, name another or remove it")
        try:
            (self.folder / PNGS).mkdir(parents=True, exist_ok=True)
            self._unfinished.write_text("")  # says now, not after hours, whether the folder can be written to
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot be written to ({error.strerror}); expected a folder for files, name another"
            ) from error

    def add(self, image_id: int, file_name: str, image: PanopticMap) -> None:
        """Write one image's map; `file_name` is the photo's.

        Raises InputError when the image was added before, when map and table hold different ids or an id of 2^24
        and more, and when the PNG cannot be written.
        """
        if image_id in self._seen:
            raise InputError(f"image {image_id} is added twice; expected each image once")
        self._seen.add(image_id)
        ids = integer_map(image.id_map, "panoptic map")
        listed, rank = np.unique(ids, return_inverse=True)
        _check_ids(image_id, listed, image)
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
        png = f"{image_id:012d}.png"
        try:
            Image.fromarray(encode_ids(ids.astype(np.int32))).save(self.folder / PNGS / png)
        except OSError as error:
            raise InputError(
                f"{self.folder / PNGS / png} cannot be written ({error.strerror}); expected a folder with space left"
            ) from error
        height, width = ids.shape
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        self._annotations.append({"image_id": image_id, "file_name": png, "segments_info": rows})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._unfinished.unlink(missing_ok=True)
            return
        categories = [
            {"id": row.id, "name": row.name, "isthing": int(row.isthing), "color": list(row.color)}
            for row in self.categories
        ]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        with self._unfinished.open("w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self._unfinished, self.folder / JSON)


def _check_ids(image_id: int, listed: npt.NDArray[Any], image: PanopticMap) -> None:
    in_map, in_table = set(listed.tolist()) - {VOID}, [s.id for s in image.segments]
    if in_map != set(in_table) or len(in_table) != len(in_map):
        raise InputError(
            f"image {image_id}: its map has ids {sorted(in_map)[:10]}, its table {sorted(in_table)[:10]}; "
            "expected the same ids, each listed once"
        )
    if wrong := [id_ for id_ in in_map if not 0 < id_ < 2**24]:
        raise InputError(f"image {image_id} has ids {wrong[:10]}; expected ids from 1 to 2^24 - 1, a PNG's three bytes")

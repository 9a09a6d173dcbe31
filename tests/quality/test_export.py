"""What is written is what was predicted, in the format that COCO's readers expect."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effbench.data.coco_panoptic import Categories, Category, CocoPanoptic
from effbench.errors import InputError
from effbench.quality import PanopticMap, PanopticWriter, SegmentInfo

CATEGORIES = Categories((Category(40, "cat", True, (1, 2, 3)), Category(12, "sky", False, (4, 5, 6))))
WIDE = 5 + 2 * 256 + 7 * 65536
IDS = np.array([[0, WIDE, WIDE, 0], [0, 0, WIDE, 0], [9, 9, 9, 9]])
IMAGE = PanopticMap(IDS, [SegmentInfo(9, 1), SegmentInfo(WIDE, 0)])


def test_the_files_follow_the_format(tmp_path: Path) -> None:
    with PanopticWriter(tmp_path / "new/out", CATEGORIES) as writer:
        writer.add(285, "photo.jpg", IMAGE)
    folder = tmp_path / "new/out"
    assert json.loads((folder / "panoptic.json").read_text()) == {
        "images": [{"id": 285, "file_name": "photo.jpg", "height": 3, "width": 4}],
        "annotations": [
            {
                "image_id": 285,
                "file_name": "000000000285.png",
                "segments_info": [
                    {"id": 9, "category_id": 12, "area": 4, "bbox": [0, 2, 4, 1], "iscrowd": 0},
                    {"id": WIDE, "category_id": 40, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 0},
                ],
            }
        ],
        "categories": [
            {"id": 40, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
            {"id": 12, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
        ],
    }
    rgb = np.array(Image.open(folder / "panoptic/000000000285.png"))
    assert rgb[0].tolist() == [[0, 0, 0], [5, 2, 7], [5, 2, 7], [0, 0, 0]]
    assert sorted(os.listdir(folder)) == ["panoptic", "panoptic.json"]


def test_our_reader_reads_it_back(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    crowd = PanopticMap(np.full((3, 4), 3, np.int32), [SegmentInfo(3, 0, True)])
    nothing = PanopticMap(np.zeros((3, 4), np.int32), [])
    with PanopticWriter(tmp_path, CATEGORIES) as writer:
        for image_id, image in enumerate((IMAGE, crowd, nothing)):
            Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(photos / f"{image_id}.jpg")
            writer.add(image_id, f"{image_id}.jpg", image)
    data = CocoPanoptic.from_files(photos, tmp_path / "panoptic", tmp_path / "panoptic.json")
    assert data.categories == CATEGORIES
    for sample, image in zip(data, (IMAGE, crowd, nothing), strict=True):
        np.testing.assert_array_equal(sample.id_map, image.id_map)
        assert [(s.id, s.category, s.iscrowd) for s in sample.segments] == [tuple(s) for s in image.segments]
        assert all(s.area == (np.asarray(image.id_map) == s.id).sum() for s in sample.segments)


def test_an_image_whose_id_is_a_name_keeps_it(tmp_path: Path) -> None:
    with PanopticWriter(tmp_path, CATEGORIES) as writer:
        writer.add("ulm_000000_000019", "ulm.png", IMAGE)
    content = json.loads((tmp_path / "panoptic.json").read_text())
    assert content["images"][0]["id"] == content["annotations"][0]["image_id"] == "ulm_000000_000019"
    assert content["annotations"][0]["file_name"] == "ulm_000000_000019.png"
    assert os.listdir(tmp_path / "panoptic") == ["ulm_000000_000019.png"]


@pytest.mark.parametrize("own_id", ["", "../photo", "/photo", "a\0b"])
def test_an_id_that_leads_elsewhere_is_refused(own_id: str, tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path / "out", CATEGORIES)
    with pytest.raises(InputError, match="cannot name a file; expected a name without '/'"):
        writer.add(own_id, "1.jpg", IMAGE)
    assert os.listdir(tmp_path / "out/panoptic") == []


def test_an_interrupted_run_leaves_no_json(tmp_path: Path) -> None:
    def interrupted() -> None:
        with PanopticWriter(tmp_path, CATEGORIES) as writer:
            writer.add(1, "1.jpg", IMAGE)
            assert not (tmp_path / "panoptic.json").exists(), "nor does a killed one"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["panoptic"]
    with PanopticWriter(tmp_path, CATEGORIES) as writer:  # and the next run may use the folder
        writer.add(1, "1.jpg", IMAGE)
    assert (tmp_path / "panoptic.json").exists()


def test_a_finished_export_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "panoptic.json").write_text("precious")
    with pytest.raises(InputError, match=r"panoptic\.json exists; expected a folder without one"):
        PanopticWriter(tmp_path, CATEGORIES)
    assert (tmp_path / "panoptic.json").read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for folder in (tmp_path / "file", tmp_path / "file/out", Path("/proc/nothing")):
        with pytest.raises(InputError, match="cannot be written to") as raised:
            PanopticWriter(folder, CATEGORIES)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        PanopticWriter(tmp_path, CATEGORIES)


def test_a_png_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CATEGORIES)
    (tmp_path / "panoptic").rmdir()
    with pytest.raises(InputError, match="cannot be written"):
        writer.add(1, "1.jpg", IMAGE)


@pytest.mark.parametrize(("size", "file"), [(10, "000000000001.png"), (200, "panoptic.json")])
def test_a_full_disk_leaves_no_half_json(
    size: int, file: str, tmp_path: Path, quota: Callable[[int], AbstractContextManager[None]]
) -> None:
    def export() -> None:
        with PanopticWriter(tmp_path, CATEGORIES) as writer:
            writer.add(1, "1.jpg", IMAGE)

    with pytest.raises(InputError, match=f"{file} cannot be written .*File too large") as raised, quota(size):
        export()
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == ["panoptic"]
    export()
    assert len(json.loads((tmp_path / "panoptic.json").read_text())["annotations"]) == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PanopticMap(IDS, [SegmentInfo(9, 1)]), "expected the same ids, each listed once"),
        (PanopticMap(IDS, [SegmentInfo(9, 1), SegmentInfo(9, 1), SegmentInfo(WIDE, 0)]), "each listed once"),
        (PanopticMap(np.full((2, 2), 2**24), [SegmentInfo(2**24, 1)]), r"expected ids from 1 to 2\^24 - 1"),
        (PanopticMap(np.full((2, 2), -1), [SegmentInfo(-1, 1)]), r"expected ids from 1 to 2\^24 - 1"),
        (PanopticMap(np.zeros((2, 2)), []), "must be a non-empty"),
    ],
)
def test_maps_that_no_reader_could_use_are_refused(image: PanopticMap, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message), PanopticWriter(tmp_path, CATEGORIES) as writer:
        writer.add(1, "1.jpg", image)


def test_an_image_counts_once(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CATEGORIES)
    writer.add(1, "1.jpg", IMAGE)
    with pytest.raises(InputError, match="image 1 is added twice"):
        writer.add(1, "1.jpg", IMAGE)

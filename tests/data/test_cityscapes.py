"""Cityscapes in its own folders, and what is said when its panoptic conversion was not made."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from effbench.data.cityscapes import check_layout, open_cityscapes
from effbench.data.coco_panoptic import Segment
from effbench.errors import InputError


def test_reads_the_official_conversion(cityscapes_root: Path) -> None:
    dataset = open_cityscapes(cityscapes_root, "val")
    assert dataset.image_sizes == [(4, 8)] * 3
    assert [row.name for row in dataset.categories] == ["road", "car"]
    assert dataset.categories.things == {1}
    sample = dataset[1]
    assert sample.segments == (
        Segment(7, 0, False, False, 16),
        Segment(26, 1, True, True, 4),
        Segment(26000, 1, True, False, 2),
        Segment(26001, 1, True, False, 2),
    )
    assert sample.id_map[3].tolist() == [26000, 26000, 26001, 26001, 26, 26, 26, 26]
    assert not sample.id_map[2].any(), "void"


def test_images_are_numbered_in_the_order_of_their_names(cityscapes_root: Path) -> None:
    samples = list(open_cityscapes(cityscapes_root))
    assert [sample.image_id for sample in samples] == [0, 1, 2]
    assert [sample.own_id for sample in samples] == [
        "aachen_000000_000019",
        "aachen_000001_000019",
        "ulm_000000_000019",
    ]
    assert [int(sample.image[0, 0, 0]) for sample in samples] == [0, 1, 2], "each from its own file"
    assert samples[2].file_name == "ulm_000000_000019_gtFine_leftImg8bit.png"
    (first,) = open_cityscapes(cityscapes_root, limit=1)
    assert (first.image_id, first.file_name) == (0, samples[0].file_name), "a limit changes no number"


def test_image_names_without_the_conversions_addition_are_found(cityscapes_root: Path) -> None:
    path = cityscapes_root / "gtFine/cityscapes_panoptic_val.json"
    path.write_text(path.read_text().replace("_gtFine_leftImg8bit", "_leftImg8bit"))
    assert open_cityscapes(cityscapes_root)[2].file_name == "ulm_000000_000019_leftImg8bit.png"


def test_survives_the_trip_to_a_loader_process(cityscapes_root: Path) -> None:
    assert pickle.loads(pickle.dumps(open_cityscapes(cityscapes_root)))[2].image_id == 2


@pytest.mark.parametrize("missing", ["cityscapes_panoptic_val", "cityscapes_panoptic_val.json"])
def test_a_missing_conversion_is_said_with_its_command(missing: str, cityscapes_root: Path) -> None:
    path = cityscapes_root / "gtFine" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError) as caught:
        open_cityscapes(cityscapes_root)
    message = str(caught.value)
    assert message.startswith(f"{path} not found") and "\n" not in message
    assert f"csCreatePanopticImgs --dataset-folder {cityscapes_root}/gtFine --set-names train val" in message
    with pytest.raises(InputError) as checked:
        check_layout(cityscapes_root, "val")
    assert str(checked.value) == message


def test_missing_images_are_named(cityscapes_root: Path) -> None:
    with pytest.raises(InputError, match=r"leftImg8bit/train not found; .*leftImg8bit_trainvaltest\.zip"):
        open_cityscapes(cityscapes_root, "train")
    file = cityscapes_root / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    file.unlink()
    with pytest.raises(InputError, match=r"ulm_000000_000019_leftImg8bit\.png: file not found") as caught:
        open_cityscapes(cityscapes_root)
    assert str(caught.value).startswith(str(file))


def test_an_image_without_annotation_is_called_by_its_name(cityscapes_root: Path) -> None:
    path = cityscapes_root / "gtFine/cityscapes_panoptic_val.json"
    content = json.loads(path.read_text())
    content["annotations"] = content["annotations"][1:]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="image ulm_000000_000019 has no annotation"):
        open_cityscapes(cityscapes_root)

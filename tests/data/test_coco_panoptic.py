"""The reader of the COCO panoptic layout: what it returns, and what it refuses."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from effbench.data.coco_panoptic import (
    Categories,
    Category,
    CocoPanoptic,
    Segment,
    check_layout,
    decode_ids,
    encode_ids,
)
from effbench.data.transforms import collate, resize_shortest
from effbench.errors import InputError

Edit = Callable[[Callable[[dict[str, Any]], object]], None]
CROWD_ID = 5 + 2 * 256 + 65536


def segment(content: dict[str, Any]) -> dict[str, Any]:
    """The first segment of image 7."""
    row: dict[str, Any] = content["annotations"][0]["segments_info"][0]
    return row


def test_reads_samples_in_the_order_of_image_ids(coco_root: Path) -> None:
    dataset = CocoPanoptic(coco_root)
    empty, sample = list(dataset)
    assert [empty.image_id, sample.image_id] == [empty.own_id, sample.own_id] == [3, 7]
    assert empty.segments == () and not empty.id_map.any()
    assert sample.image.dtype == torch.uint8 and sample.image.shape == (3, 4, 6)
    assert sample.file_name == "7.jpg"
    assert sample.id_map.dtype == torch.int32
    expected = torch.zeros(4, 6, dtype=torch.int32)
    expected[:2, :3] = CROWD_ID
    expected[3] = 9
    assert torch.equal(sample.id_map, expected)
    assert sample.segments == (Segment(CROWD_ID, 0, True, True, 6), Segment(9, 1, False, False, 6))
    assert dataset.image_sizes == [(4, 6), (4, 6)]


def test_categories_are_contiguous_in_file_order(coco_root: Path) -> None:
    categories = CocoPanoptic(coco_root).categories
    assert len(categories) == 2 and [row.id for row in categories] == [40, 12]
    assert categories[1] == Category(12, "sky", False, (4, 5, 6))
    assert categories.index_of(12) == 1
    assert categories.things == {0} and categories.stuff == {1}
    with pytest.raises(InputError, match="share one id"):
        Categories((categories[0], categories[0]))


def test_limit_takes_the_first_images(coco_root: Path) -> None:
    assert [sample.image_id for sample in CocoPanoptic(coco_root, limit=1)] == [3]
    with pytest.raises(InputError, match="limit is 0"):
        CocoPanoptic(coco_root, limit=0)


def test_from_files_reads_folders_of_any_name(coco_root: Path) -> None:
    (coco_root / "val2017").rename(coco_root / "photos")
    dataset = CocoPanoptic.from_files(
        coco_root / "photos", coco_root / "panoptic_val2017", coco_root / "annotations/panoptic_val2017.json"
    )
    assert dataset[1].image_id == 7


def test_survives_the_trip_to_a_loader_process(coco_root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(CocoPanoptic(coco_root)))
    assert dataset.categories.index_of(12) == 1 and dataset[1].image_id == 7


def test_id_coding_covers_24_bits() -> None:
    ids = np.array([[0, 255, 256], [65536, 2**24 - 1, 0x123456]], np.int32)
    assert np.array_equal(decode_ids(encode_ids(ids)), ids)
    assert encode_ids(ids)[1, 2].tolist() == [0x56, 0x34, 0x12]


@pytest.mark.parametrize("missing", ["val2017", "panoptic_val2017", "annotations"])
def test_a_missing_part_names_all_expected_paths(coco_root: Path, missing: str) -> None:
    shutil.rmtree(coco_root / missing)
    with pytest.raises(InputError, match="not found; expected the COCO panoptic layout") as caught:
        CocoPanoptic(coco_root)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(coco_root / missing))
    for path in ("val2017/", "panoptic_val2017/", "annotations/panoptic_val2017.json"):
        assert f"{coco_root / path}" in message
    with pytest.raises(InputError) as checked:
        check_layout(coco_root, "val2017")
    assert str(checked.value) == message, "known before anything is read"


def test_a_layout_that_is_there_is_known_by_its_annotations(coco_root: Path) -> None:
    assert check_layout(coco_root, "val2017") == coco_root / "annotations/panoptic_val2017.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(images=[]), "lists no images"),
        (lambda c: c["annotations"].pop(0), "json: image 7 has no annotation"),
        (lambda c: c["images"].pop(0), "json: annotation of image 7, which is not listed"),
        (lambda c: c["images"].append(c["images"][0]), "an image id occurs twice"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "an image id occurs twice"),
        (lambda c: c["images"][0].update(file_name="8.jpg"), "8.jpg: file not found"),
        (lambda c: c["annotations"][0].update(file_name="8.png"), "8.png: file not found"),
        (lambda c: c["categories"].pop(1), "json: image 7 has a segment of unknown category id 12"),
        (lambda c: c["categories"].append(c["categories"][0]), "json: two categories share one id"),
        (lambda c: c.pop("categories"), r"json: not in the COCO panoptic format \(has no field 'categories'\)"),
        (lambda c: c["categories"][0].update(color=[1]), r"json: category 1 of 2 not in the COCO panoptic format"),
        (lambda c: c["categories"][1].pop("isthing"), r"json: category 2 of 2 not .* \(has no field 'isthing'\)"),
        (lambda c: c["images"][0].pop("height"), r"json: image 7 not .* \(has no field 'height'\)"),
        (lambda c: c["images"][0].update(id="7"), r"json: not in the COCO panoptic format \(TypeError"),
        (lambda c: segment(c).update(id=9), "json: image 7 has two segments of id 9; expected ids that are unique"),
        (lambda c: segment(c).pop("area"), r"json: image 7 not .* \(has no field 'area'\)"),
        (lambda c: segment(c).update(area="big"), r"json: image 7 not .* \(ValueError: .*'big'\)"),
    ],
)
def test_a_bad_annotation_file_is_refused_at_once(
    coco_root: Path, edit_json: Edit, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_json(change)
    with pytest.raises(InputError, match=message) as caught:
        CocoPanoptic(coco_root)
    assert "expected" in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(coco_root))


def test_all_pairs_are_checked_whatever_the_limit(coco_root: Path, edit_json: Edit) -> None:
    edit_json(lambda c: c["annotations"].pop(0))
    with pytest.raises(InputError, match="image 7 has no annotation"):
        CocoPanoptic(coco_root, limit=1)


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_an_annotation_file_that_is_cut_off(kept: int, coco_root: Path) -> None:
    path = coco_root / "annotations/panoptic_val2017.json"
    path.write_text(path.read_text()[:kept])
    with pytest.raises(InputError, match=r"json: cannot be read as JSON .*; expected a COCO panoptic") as caught:
        CocoPanoptic(coco_root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"][0].update(width=5), r"7.jpg: image is 4x6 .* says 4x5"),
        (lambda c: c["annotations"][0]["segments_info"].pop(1), r"only in the PNG \[9\]"),
        (
            lambda c: c["annotations"][1]["segments_info"].append(
                {"id": 4, "category_id": 12, "iscrowd": 0, "area": 1}
            ),
            r"3.png: PNG and JSON disagree.*json \[4\]",
        ),
    ],
)
def test_disagreement_with_the_pixels_is_found_on_reading(
    coco_root: Path, edit_json: Edit, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_json(change)
    dataset = CocoPanoptic(coco_root)
    with pytest.raises(InputError, match=message) as caught:
        list(dataset)
    assert "expected" in str(caught.value)


def test_a_panoptic_png_of_another_size(coco_root: Path) -> None:
    Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(coco_root / "panoptic_val2017/3.png")
    with pytest.raises(InputError, match=r"3.png: panoptic PNG is 6x4 .* its image is 4x6"):
        CocoPanoptic(coco_root)[0]


def test_a_broken_image(coco_root: Path) -> None:
    (coco_root / "val2017/3.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"3.jpg: cannot be read as an image") as caught:
        CocoPanoptic(coco_root)[0]
    assert "expected a whole JPEG or PNG" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [(b"\0DAT", "broken PNG file"), (b"IDA\xd4", "broken PNG file"), (b"abcD", "truncated")],
)
def test_a_png_with_a_spoilt_chunk_is_refused(name: bytes, why: str, coco_root: Path) -> None:
    """Pillow raises a SyntaxError for what is no chunk's name, once the image is open."""
    path = coco_root / "panoptic_val2017/3.png"
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)
    content = path.read_bytes()
    first = content.index(b"IDAT")
    later = content.index(b"IDAT", first + 4)
    path.write_bytes(content[:later] + name + content[later + 4 :])
    assert_no_image(coco_root, path, why)


def test_a_png_with_a_header_that_is_cut_short_is_refused(coco_root: Path) -> None:
    """A ValueError of Pillow's."""
    path = coco_root / "panoptic_val2017/3.png"
    content = path.read_bytes()
    assert content[8:16] == b"\0\0\0\rIHDR"
    path.write_bytes(content[:8] + b"\0\0\0\0IHDR" + content[16:])
    assert_no_image(coco_root, path, "Truncated IHDR")


def test_an_image_that_claims_to_be_enormous_is_refused(coco_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)  # a half of what the images have
    assert_no_image(coco_root, coco_root / "val2017/3.jpg", "exceeds limit of 22 pixels")


def assert_no_image(root: Path, path: Path, why: str) -> None:
    with pytest.raises(
        InputError, match=f"^{re.escape(str(path))}: cannot be read as an image .*{why}.*expected a whole"
    ) as caught:
        CocoPanoptic(root)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["val2017/7.jpg", "panoptic_val2017/7.png"])
@pytest.mark.parametrize("options", [{}, {"progressive": True, "compress_level": 0}])
def test_an_image_that_is_cut_off_is_never_filled_up(
    name: str, options: dict[str, Any], coco_root: Path, edit_json: Edit
) -> None:
    """Refused whatever the length, unless every pixel is there."""
    for file in (coco_root / "val2017/7.jpg", coco_root / "panoptic_val2017/7.png"):
        Image.open(file).resize((48, 32), Image.Resampling.NEAREST).save(file, **options)
    edit_json(lambda c: c["images"][0].update(height=32, width=48))
    dataset, path = CocoPanoptic(coco_root), coco_root / name
    whole, content = dataset[1], path.read_bytes()
    end = len(content) - (20 if path.suffix == ".png" else 0)  # a PNG's last 20 bytes are no pixels
    for kept in [*range(0, end, max(1, end // 100)), end - 1]:
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}: cannot be read as an image .*expected a whole"):
            dataset[1]
    path.write_bytes(content[: end + 1])
    sample = dataset[1]
    assert torch.equal(sample.image, whole.image) and torch.equal(sample.id_map, whole.id_map)


def test_an_image_one_pixel_high_reaches_the_model(coco_root: Path, edit_json: Edit) -> None:
    for file in (coco_root / "val2017/7.jpg", coco_root / "panoptic_val2017/7.png"):
        Image.open(file).crop((0, 0, 6, 1)).save(file)

    def one_row(content: dict[str, Any]) -> None:
        content["images"][0].update(height=1)
        content["annotations"][0]["segments_info"].pop(1)

    edit_json(one_row)
    sample = CocoPanoptic(coco_root)[1]
    assert sample.image.shape == (3, 1, 6) and sample.id_map.shape == (1, 6)
    assert collate([sample]).images.shape == (1, 3, 1, 6)
    assert resize_shortest((1, 6)) == (222, 1333)
    assert resize_shortest((1, 4000)) == (1, 1333), "rounded to no pixel at all, it could not be resized"

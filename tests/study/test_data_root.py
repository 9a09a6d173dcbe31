"""A data root is known by its content."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.study.data_root import identify

COCO = {
    "folders": ("{}2017", "panoptic_{}2017"),
    "annotations": "annotations/panoptic_{}2017.json",
    "expected": "expected the COCO panoptic layout",
}
CITYSCAPES = {
    "folders": ("leftImg8bit/{}", "gtFine/cityscapes_panoptic_{}"),
    "annotations": "gtFine/cityscapes_panoptic_{}.json",
    "expected": "expected Cityscapes",
}
SPLITS = ("train", "val")


@pytest.fixture(params=[COCO, CITYSCAPES], ids=["coco", "cityscapes"])
def layout(request: pytest.FixtureRequest) -> dict[str, str]:
    layout: dict[str, str] = request.param
    return layout


@pytest.fixture
def root(layout: dict[str, str], tmp_path: Path) -> Path:
    """The layout; what the files hold is nothing to whoever only identifies them."""
    root = tmp_path / "data"
    for split in SPLITS:
        annotations = root / layout["annotations"].format(split)
        for folder in (*(root / folder.format(split) for folder in layout["folders"]), annotations.parent):
            folder.mkdir(parents=True, exist_ok=True)
        annotations.write_text(f"annotations of {split}2017")
    return root


def test_it_is_a_hash_of_the_annotation_files(root: Path) -> None:
    texts = b"annotations of train2017", b"annotations of val2017"
    assert identify(root) == hashlib.sha256(b"".join(texts)).hexdigest()[:12]
    assert identify(root, ["val"]) == hashlib.sha256(texts[1]).hexdigest()[:12]
    assert identify(root, ["train2017", "val2017"]) == identify(root), "as COCO calls its splits"


def test_another_place_is_the_same_data(root: Path, tmp_path: Path) -> None:
    assert identify(Path(shutil.copytree(root, tmp_path / "elsewhere"))) == identify(root)


@pytest.mark.parametrize("split", SPLITS)
def test_another_content_is_other_data(split: str, root: Path, layout: dict[str, str]) -> None:
    first, train = identify(root), identify(root, ["train"])
    with (root / layout["annotations"].format(split)).open("a") as file:
        file.write(" ")
    assert identify(root) != first
    assert (identify(root, ["train"]) == train) == (split != "train"), "only the splits that are asked for"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_what_is_missing_is_named(part: int, split: str, root: Path, layout: dict[str, str]) -> None:
    path = root / (*layout["folders"], layout["annotations"])[part].format(split)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} not found; {layout['expected']}"):
        identify(root)
    other = [name for name in SPLITS if name != split]
    assert identify(root, other), "a split that nobody reads may be missing"


def test_a_folder_of_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has neither of the layouts"):
        identify(tmp_path)

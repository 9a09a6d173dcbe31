"""A data root is known by its content."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.study.data_root import SPLITS, identify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layout; what the files hold is nothing to whoever only identifies them."""
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        (root / split).mkdir()
        (root / f"panoptic_{split}").mkdir()
        (root / f"annotations/panoptic_{split}.json").write_text(f"annotations of {split}")
    return root


def test_another_place_is_the_same_data(root: Path, tmp_path: Path) -> None:
    first = identify(root)
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert identify(Path(shutil.copytree(root, tmp_path / "elsewhere"))) == first


@pytest.mark.parametrize("split", SPLITS)
def test_another_content_is_other_data(split: str, root: Path) -> None:
    first, train = identify(root), identify(root, ["train2017"])
    with (root / f"annotations/panoptic_{split}.json").open("a") as file:
        file.write(" ")
    assert identify(root) != first
    assert (identify(root, ["train2017"]) == train) == (split != "train2017"), "only the splits that are asked for"


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("part", ["{}", "panoptic_{}", "annotations/panoptic_{}.json"])
def test_what_is_missing_is_named(part: str, split: str, root: Path) -> None:
    path = root / part.format(split)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=f"^{re.escape(str(path))} not found; expected the COCO panoptic layout"):
        identify(root)
    other = [name for name in SPLITS if name != split]
    assert identify(root, other), "a split that nobody reads may be missing"

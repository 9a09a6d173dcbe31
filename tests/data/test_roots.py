"""How a data set is found and its layout recognised."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from effbench.data.roots import VARIABLES, annotation_file, find_root, layout_of, open_split
from effbench.errors import InputError


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_path_wins_then_our_variable_then_detectron2s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("theirs/coco/annotations", "ours/coco/annotations", "ours/cityscapes/gtFine", "path/annotations"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "theirs"))
    assert find_root(None, "coco") == tmp_path / "theirs/coco"
    monkeypatch.setenv("EFFBENCH_DATASETS", str(tmp_path / "ours"))
    assert find_root(None, "coco") == tmp_path / "ours/coco"
    assert find_root(None, "cityscapes") == tmp_path / "ours/cityscapes"
    assert find_root(tmp_path / "path", "coco") == tmp_path / "path"
    monkeypatch.setenv("EFFBENCH_DATASETS", "")
    assert find_root(None, "coco") == tmp_path / "theirs/coco", "an empty variable says nothing"


def test_all_ways_to_name_a_root_are_told() -> None:
    with pytest.raises(InputError, match=r"data root \(--data-root PATH\).*EFFBENCH_DATASETS.*DETECTRON2_DATASETS"):
        find_root(None, "coco")


def test_a_root_that_is_not_there_is_no_reason_to_look_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs/coco").mkdir(parents=True)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "theirs"))
    monkeypatch.setenv("EFFBENCH_DATASETS", str(tmp_path / "ours"))
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/ours/coco not found") + ".*because of EFFBENCH_DATASE"):
        find_root(None, "coco")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/gone not found") + ".*because of the data root"):
        find_root(tmp_path / "gone", "coco")


def test_a_root_of_the_other_layout_is_refused_by_what_named_it(
    coco_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = "has the layout of coco; expected cityscapes's, correct"
    with pytest.raises(InputError, match=f"^{re.escape(str(coco_root))} {expected} the data root or ask for coco$"):
        find_root(coco_root, "cityscapes")
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/cityscapes").symlink_to(coco_root)
    monkeypatch.setenv("EFFBENCH_DATASETS", str(tmp_path / "sets"))
    with pytest.raises(InputError, match=f"{expected} EFFBENCH_DATASETS={re.escape(str(tmp_path / 'sets'))} or ask"):
        find_root(None, "cityscapes")
    with pytest.raises(InputError, match="has neither of the layouts"):
        find_root(tmp_path / "sets", "coco")


def test_either_layout_is_opened(coco_root: Path, cityscapes_root: Path) -> None:
    assert layout_of(coco_root) == "coco" and layout_of(cityscapes_root) == "cityscapes"
    assert [sample.image_id for sample in open_split(coco_root, "val")] == [3, 7]
    assert [sample.image_id for sample in open_split(cityscapes_root, "val", limit=2)] == [0, 1]
    assert annotation_file(coco_root, "val") == coco_root / "annotations/panoptic_val2017.json"
    assert annotation_file(cityscapes_root, "val") == cityscapes_root / "gtFine/cityscapes_panoptic_val.json"


def test_a_missing_split_is_told_in_the_words_of_its_layout(coco_root: Path, cityscapes_root: Path) -> None:
    for use in (open_split, annotation_file):
        with pytest.raises(InputError, match=r"panoptic_train2017\.json not found; expected the COCO panoptic"):
            use(coco_root, "train")
        with pytest.raises(InputError, match="leftImg8bit/train not found; expected Cityscapes"):
            use(cityscapes_root, "train")


def test_a_folder_of_neither_or_both_layouts_is_refused_with_both(coco_root: Path, cityscapes_root: Path) -> None:
    layouts = r"expected COCO panoptic \(annotations/panoptic_val2017.json.* or Cityscapes \(leftImg8bit/val/"
    for wrong in (coco_root / "val2017", coco_root / "gone"):
        with pytest.raises(InputError, match=f"^{re.escape(str(wrong))} has neither of the layouts; {layouts}"):
            open_split(wrong, "val")
    shutil.copytree(coco_root / "annotations", cityscapes_root / "annotations")
    with pytest.raises(InputError, match=f"looks like both of the layouts; {layouts}"):
        open_split(cityscapes_root, "val")

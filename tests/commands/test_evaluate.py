"""`effbench eval` of what `effbench train` has made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
Refused = Callable[..., str]


def test_eval_refuses_a_folder_without_a_model(refused: Refused, tmp_path: Path, photos: Path) -> None:
    line = refused("eval", tmp_path, "--data-root", photos)
    assert "model.json not found" in line and "effbench train" in line


def test_train_then_eval(effbench: Call, refused: Refused, tmp_path: Path, photos: Path) -> None:
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6]
    recipe = ["--steps", 2, "--batch-size", 2, "--crop", 64]
    answer = effbench("train", "fpn", "--out", tmp_path / "out", "--data-root", photos, *narrow, *recipe)
    assert answer.code == 0, answer
    assert (tmp_path / "out/weights.pt").is_file()
    assert str(tmp_path / "out/weights.pt") in answer.out

    thresholds = ["--limit", 2, "--object-threshold", 0]
    export = ["--export", tmp_path / "predictions"]
    answer = effbench("eval", tmp_path / "out", "--data-root", photos, *thresholds, *export, "--json")
    assert answer.code == 0, answer
    assert answer.last["images"] == 2
    assert answer.last["all"].keys() == {"pq", "sq", "rq", "categories"}
    assert all(word in answer.out for word in ("things", "stuff", "small", "large", "PQ", "SQ", "RQ"))
    assert f"mIoU_p {answer.last['miou']['miou']:.2f}" in answer.out
    assert f"AP_p {answer.last['ap']['ap']:.2f}" in answer.out
    assert "APl -" in answer.out, "64 x 64 pixels hold nothing large"
    assert len(list((tmp_path / "predictions/panoptic").iterdir())) == 2
    assert len(json.loads((tmp_path / "predictions/panoptic.json").read_text())["annotations"]) == 2

    assert "panoptic.json exists" in refused("eval", tmp_path / "out", "--data-root", photos, *export)


def test_train_and_eval_take_a_data_set_by_name(
    effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFBENCH_DATASETS", str(datasets))
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--steps", 1, "--batch-size", 1, "--crop", 64]
    for dataset, categories, augmentation in (("coco", 15, "large_scale_jitter"), ("cityscapes", 2, "cityscapes")):
        out = tmp_path / dataset
        chosen = ["--dataset", dataset, "--augmentation", augmentation, "--workers", 1]
        answer = effbench("train", "fpn", "--out", out, *chosen, *narrow)
        assert answer.code == 0, answer
        assert f'"num_classes": {categories}' in (out / "model.json").read_text()
        answer = effbench("eval", out, "--dataset", dataset, "--short", 64, "--object-threshold", 0, "--json")
        assert answer.code == 0, answer
        assert answer.last["images"] == 3


@pytest.mark.parametrize("command", ["train", "eval"])
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--dataset", "ade20k"], "no data set is called 'ade20k'; expected one of coco, cityscapes"),
        (["--dataset", "cityscapes"], "no folder of the data set cityscapes is known; expected one of: a data root"),
        (["--dataset", "cityscapes", "--data-root", "coco"], "has the layout of coco; expected cityscapes"),
        (["--dataset", "coco", "--data-root", "cityscapes"], "has the layout of cityscapes; expected coco"),
        (["--dataset", "coco", "--data-root", "gone"], "gone not found; expected the folder of coco there"),
    ],
)
def test_a_data_set_that_is_not_there_is_refused(
    arguments: list[str],
    part: str,
    command: str,
    refused: Refused,
    datasets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(datasets)
    model = ["fpn", "--out", tmp_path / "out"] if command == "train" else [tmp_path / "out"]
    assert part in refused(command, *model, *arguments)
    assert not (tmp_path / "out").exists()

"""`effbench derive`: what every exit is worth for images of one's own, kept beside the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.training.checkpoint import load, save_atomic

Call = Callable[..., Any]
Refused = Callable[..., str]


def test_both_splits_are_derived(effbench: Call, early_exit: Path, how: list[object]) -> None:
    answer = effbench("derive", early_exit, *how, "--json")
    assert answer.code == 0, answer
    assert answer.last.keys() == {"train", "val"}
    for split, found in answer.last.items():
        path = early_exit / f"derived-{split}.jsonl"
        assert found["path"] == str(path) and f"Derived: {path}" in answer.out
        assert found["images"] == sum(found["best_exits"].values()) == len(path.read_text().splitlines()) - 1 == 3
        assert found["provenance"]["exits"] == [1, 2, 3]
        assert found["provenance"]["inference"]["short"] == 64
        assert found["mean_pq"].keys() == {"1", "2", "3"} and all(0 <= pq <= 100 for pq in found["mean_pq"].values())
        assert f"{found['mean_pq']['2']:.2f}" in answer.out
    assert answer.last["train"]["mean_pq"] != answer.last["val"]["mean_pq"]


def test_what_is_derived_is_what_eval_scores(effbench: Call, early_exit: Path, how: list[object]) -> None:
    """Of one image, the panoptic quality of the set is the image's."""
    derived = effbench("derive", early_exit, *how, "--split", "val", "--limit", 1, "--json").last
    assert derived.keys() == {"val"} and not (early_exit / "derived-train.jsonl").exists()
    scored = [
        effbench("eval", early_exit, *how, "--limit", 1, "--exit", layer, "--json").last["all"]["pq"]
        for layer in (1, 2, 3)
    ]
    assert list(derived["val"]["mean_pq"].values()) == pytest.approx(scored)
    assert min(scored) > 0


def test_a_killed_one_goes_on(
    effbench: Call, derived: Path, how: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = derived / "derived-train.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    read, get = [], CocoPanoptic.__getitem__
    monkeypatch.setattr(CocoPanoptic, "__getitem__", lambda self, i: read.append(i) or get(self, i))
    assert effbench("derive", derived, *how).code == 0
    assert path.read_bytes() == whole and read == [2], "of both splits only the image that was missing"


def test_data_sets_may_move(effbench: Call, derived: Path, how: list[object], photos: Path, tmp_path: Path) -> None:
    before = (derived / "derived-val.jsonl").read_bytes()
    moved = shutil.copytree(photos, tmp_path / "moved")
    assert effbench("derive", derived, "--data-root", moved, *how[2:]).code == 0
    assert (derived / "derived-val.jsonl").read_bytes() == before


def test_other_images_inference_or_weights_are_refused(
    effbench: Call, refused: Refused, derived: Path, how: list[object]
) -> None:
    path = derived / "derived-train.jsonl"
    before = path.read_bytes()
    start, end = f"error: {path} was derived from something else: ", "remove it and derive again"
    line = refused("derive", derived, *how, "--limit", 2)
    assert line.startswith(f"{start}images '3 images") and "expected '2 images" in line and line.endswith(end)
    line = refused("derive", derived, *how, "--object-threshold", 0.5)
    assert line.startswith(f"{start}inference") and "'object_threshold': 0.5" in line
    weights = load(derived / "weights.pt")
    weights["decoder.class_embed.bias"] += 1
    save_atomic(weights, derived / "weights.pt")
    assert refused("derive", derived, *how).startswith(f"{start}model '")
    assert path.read_bytes() == before


def test_what_cannot_be_derived_from(
    effbench: Call, refused: Refused, early_exit: Path, how: list[object], photos: Path, tmp_path: Path
) -> None:
    assert "split 'tune'; expected one of train, val" in refused("derive", early_exit, *how, "--split", "tune")
    assert "model.json not found; expected a folder" in refused("derive", tmp_path / "nothing", *how)
    line = refused("derive", early_exit, "--data-root", tmp_path / "nowhere", "--short", 64)
    assert str(tmp_path / "nowhere") in line and "expected COCO panoptic" in line
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--steps", 1, "--batch-size", 1, "--crop", 64]
    assert effbench("train", "fpn", "--out", tmp_path / "fpn", "--data-root", photos, *narrow).code == 0
    line = refused("derive", tmp_path / "fpn", *how)
    assert f"the model in {tmp_path / 'fpn'} has FPNEncoder, which has no early exits; expected a folder of" in line
    root = Path(shutil.copytree(photos, tmp_path / "other"))
    for file in (root / "annotations").iterdir():
        content = json.loads(file.read_text())
        content["categories"].append({"id": 200, "name": "fog", "isthing": 0, "color": [1, 2, 3]})
        file.write_text(json.dumps(content))
    assert "knows 15 classes" in refused("derive", early_exit, "--data-root", root)
    assert not list(tmp_path.glob("*/derived-*"))

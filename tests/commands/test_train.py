"""`effbench train`: what it refuses, and what it leaves then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fpn", "--crop", "33"], ["33", "multiple of 32"]),
        (["fpm"], ["no encoder is called 'fpm'", "fpn"]),
        (["fpn", "--set", "dim=33"], ["dim=33"]),
        (["fpn", "--sampling", "sparse"], ["sampling='sparse'"]),
        (["fpn", "--augmentation", "mosaic"], ["augmentation='mosaic'", "large_scale_jitter"]),
        (["fpn", "--backbone", "zzz"], ["zzz"]),
    ],
)
def test_train_refuses_in_one_line(
    arguments: list[str], parts: list[str], refused: Refused, tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    line = refused("train", *arguments, "--out", out, "--data-root", photos)
    assert all(part in line for part in parts), line
    assert not (out / "weights.pt").exists()


def test_a_training_that_diverges_is_one_line(refused: Refused, tmp_path: Path, photos: Path) -> None:
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--batch-size", 2, "--crop", 64]
    line = refused("train", "fpn", "--out", tmp_path, "--data-root", photos, *narrow, "--learning-rate", "1e30")
    assert "the training has diverged" in line and "lower the learning rate" in line
    assert not (tmp_path / "weights.pt").exists()


def test_train_refuses_a_bad_data_root(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", "fpn", "--out", tmp_path / "out", "--data-root", "/nonexistent")
    assert "/nonexistent has neither of the layouts; expected COCO panoptic" in line
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_should_be_is_one_line(refused: Refused, tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    for out in (file, file / "out"):
        line = refused("train", "fpn", "--steps", 1, "--out", out, "--data-root", photos)
        assert str(file) in line and "name a file or folder that can be read and written" in line
    assert file.read_text() == "no folder"

"""What tests of several commands share: data sets under the names by which they are found, and a model with exits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def datasets(photos: Path, city_photos: Path, tmp_path: Path) -> Path:
    """A folder with both data sets under the names by which they are found."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "coco").symlink_to(photos)
    (folder / "cityscapes").symlink_to(city_photos)
    return folder


@pytest.fixture(scope="session")
def early_exit_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `effbench train early_exit --exit-loss weighted` makes it, but with a narrow decoder, too."""
    from effbench.training.criterion import CriterionSettings
    from effbench.training.run import train
    from effbench.training.trainer import Recipe

    model = {
        "encoder": "early_exit",
        "backbone": "resnet_mini",
        "num_queries": 6,
        "decoder_settings": {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1},
    }
    settings = {"dim": 32, "mask_dim": 32, "heads": 4, "ffn_dim": 32, "layers": 3, "exits": (1, 2, 3)}
    criterion = CriterionSettings(sampling="dense")
    recipe = Recipe(40, 3, 64, 3e-3, warm_up=2, criterion=criterion, exit_loss="weighted")
    folder = tmp_path_factory.mktemp("models") / "early_exit"
    train({**model, **settings}, photos, recipe, folder, lambda step: None)
    return folder


@pytest.fixture
def early_exit(early_exit_once: Path, tmp_path: Path) -> Path:
    """The folder of a model with exits 1, 2 and 3 that finds something, for the test to change."""
    return Path(shutil.copytree(early_exit_once, tmp_path / "early_exit"))


@pytest.fixture
def how(photos: Path) -> list[object]:
    """Options of `effbench derive` and `effbench eval`: on which data, and how the model answers."""
    return ["--data-root", photos, "--short", 64, "--object-threshold", 0]


@pytest.fixture(scope="session")
def derived_once(early_exit_once: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from effbench.commands.options import inference
    from effbench.training.exit_run import SPLITS, derive_data

    folder = Path(shutil.copytree(early_exit_once, tmp_path_factory.mktemp("derived") / "early_exit"))
    derive_data(folder, photos, SPLITS, None, inference(photos, 64, None, 0.0))
    return folder


@pytest.fixture
def derived(derived_once: Path, tmp_path: Path) -> Path:
    """The folder of a model with what `effbench derive` has derived, for the test to change."""
    return Path(shutil.copytree(derived_once, tmp_path / "derived"))

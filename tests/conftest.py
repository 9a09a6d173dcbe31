"""What every test relies on: few threads, fixed seeds, a cache of its own, and why a GPU test is skipped.

And what tests of several folders share: the command line, small data roots in both layouts, a full disk.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

RESULTS = Path(__file__).parents[1] / "results"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and torch.cuda.is_available() is False here")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are slower on many threads, and where others compute, too, the threads wait for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing that a test stores, or that an earlier run stored, meets the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFFBENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_datasets() -> Iterator[None]:
    """Real data that the user's environment names are none of a test's business."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EFFBENCH_DATASETS", "DETECTRON2_DATASETS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def untouched_results() -> Iterator[None]:
    """A test that forgets to name its own results folder would write into the user's records."""
    before = measured_files()
    yield
    assert measured_files() == before, f"files under {RESULTS} changed during the tests; use tmp_path"


def measured_files() -> dict[Path, int]:
    files = (path for folder in RESULTS.glob("*") if folder.name != "published" for path in folder.rglob("*"))
    return {path: path.stat().st_mtime_ns for path in files if path.is_file()}


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """A test draws the same numbers alone, in another order, and in the whole suite."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


# --- the command line ------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """How a command has ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> Any:
        """The JSON object on the last line."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture
def effbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The console script, in this process."""
    from rich.console import Console

    from effbench import cli

    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    # a console asks for the width once, when it is made
    monkeypatch.setattr(cli, "console", Console(width=200))

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["effbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Answer(ended.value.code if isinstance(ended.value.code, int) else -1, *capsys.readouterr())

    return call


@pytest.fixture
def refused(effbench: Callable[..., Answer]) -> Callable[..., str]:
    """The one line with which a command is refused."""

    def call(*arguments: object) -> str:
        answer = effbench(*arguments)
        assert answer.code == 2, answer
        (line,) = answer.err.splitlines()
        assert line.startswith("error: ")
        return line

    return call


# --- data roots ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root in the COCO panoptic layout, small and generated, in a folder with nothing else."""
    from effbench.data.embedded import embedded_root

    root = tmp_path_factory.mktemp("data") / "photos"
    return Path(shutil.copytree(embedded_root(size=64, counts={"train2017": 3, "val2017": 3}), root))


@pytest.fixture
def cityscapes_root(tmp_path: Path) -> Path:
    """Three 4 x 8 images of two cities, as cityscapesScripts' createPanopticImgs.py would convert them.

    Each has road above, void between, two cars and a group of cars (a crowd) below; its grey is its place in the
    sorted order of names.
    """
    root = tmp_path / "cityscapes"
    images, annotations = [], []
    ids = np.zeros((4, 8), np.int32)
    ids[:2], ids[3, :2], ids[3, 2:4], ids[3, 4:] = 7, 26000, 26001, 26
    (root / "gtFine/cityscapes_panoptic_val").mkdir(parents=True)
    names = ["aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019"]
    for position, name in reversed(list(enumerate(names))):
        city = root / "leftImg8bit/val" / name.partition("_")[0]
        city.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 8, 3), position, np.uint8)).save(city / f"{name}_leftImg8bit.png")
        png = f"{name}_gtFine_panoptic.png"
        rgb = np.stack([ids % 256, ids // 256, ids // 65536], -1).astype(np.uint8)
        Image.fromarray(rgb).save(root / "gtFine/cityscapes_panoptic_val" / png)
        images.append({"id": name, "width": 8, "height": 4, "file_name": f"{name}_gtFine_leftImg8bit.png"})
        segments = [
            {"id": i, "category_id": category, "area": int((ids == i).sum()), "bbox": [0, 0, 1, 1], "iscrowd": crowd}
            for i, category, crowd in [(7, 7, 0), (26, 26, 1), (26000, 26, 0), (26001, 26, 0)]
        ]
        annotations.append({"image_id": name, "file_name": png, "segments_info": segments})
    categories = [
        {"id": 7, "name": "road", "color": [128, 64, 128], "supercategory": "flat", "isthing": 0},
        {"id": 26, "name": "car", "color": [0, 0, 142], "supercategory": "vehicle", "isthing": 1},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "gtFine/cityscapes_panoptic_val.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def city_photos(cityscapes_root: Path) -> Path:
    """`cityscapes_root` with its images for training, too."""
    val = cityscapes_root / "gtFine/cityscapes_panoptic_val"
    shutil.copytree(cityscapes_root / "leftImg8bit/val", cityscapes_root / "leftImg8bit/train")
    shutil.copytree(val, val.with_name("cityscapes_panoptic_train"))
    shutil.copy(val.with_suffix(".json"), val.with_name("cityscapes_panoptic_train.json"))
    return cityscapes_root


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quota() -> Callable[[int], AbstractContextManager[None]]:
    """Files grow to so many bytes only, and what is beyond is not written, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in the COCO panoptic layout with 5,000 images of 64 x 64 pixels in val2017: one image, linked."""
    root = tmp_path_factory.mktemp("many")
    for folder in ("annotations", "val2017", "panoptic_val2017"):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(root / "image.jpg")
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:32, ..., 0], rgb[32:48, ..., 0] = 1, 2
    Image.fromarray(rgb).save(root / "segments.png")
    segments = [
        {"id": 1, "category_id": 1, "iscrowd": 0, "area": 2048},
        {"id": 2, "category_id": 2, "iscrowd": 0, "area": 1024},
    ]
    images, annotations = [], []
    for i in range(5000):
        os.link(root / "image.jpg", root / f"val2017/{i}.jpg")
        os.link(root / "segments.png", root / f"panoptic_val2017/{i}.png")
        images.append({"id": i, "file_name": f"{i}.jpg", "height": 64, "width": 64})
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
    categories = [
        {"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]},
        {"id": 2, "name": "sky", "isthing": 0, "color": [4, 5, 6]},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    return root

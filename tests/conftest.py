"""What every test relies on: few threads, fixed seeds, a cache of its own, and why a GPU test is skipped."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

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

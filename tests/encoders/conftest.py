"""A small pyramid for every encoder test, and the released modules' outputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import FeatureSpec

Pyramid = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session")
def released() -> ModuleType:
    """tests/fixtures/released.py; tests are no package, so it is loaded from its path."""
    path = Path(__file__).parents[1] / "fixtures/released.py"
    spec = importlib.util.spec_from_file_location("released", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def specs() -> dict[str, FeatureSpec]:
    """A narrow backbone; no two maps have the same width, so a mix-up shows."""
    return {f"res{i + 2}": FeatureSpec(16 * 2**i, 4 * 2**i) for i in range(4)}


@pytest.fixture(scope="session")
def pyramid(specs: dict[str, FeatureSpec]) -> Pyramid:
    """Random maps of `specs` for a (height, width) image; sizes round up, as strided convolutions do."""

    def make(batch: int = 2, size: tuple[int, int] = (64, 96), dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        return {
            name: torch.randn(batch, channels, -(-size[0] // stride), -(-size[1] // stride), dtype=dtype)
            for name, (channels, stride) in specs.items()
        }

    return make

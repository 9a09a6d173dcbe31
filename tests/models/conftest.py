"""The released modules' outputs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def released() -> ModuleType:
    """tests/fixtures/released.py; tests are no package, so it is loaded from its path."""
    path = Path(__file__).parents[1] / "fixtures/released.py"
    spec = importlib.util.spec_from_file_location("released", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

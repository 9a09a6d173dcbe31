"""On what the benchmarks run, in every file that they write: pytest-benchmark says nothing of GPUs and libraries.

Left out by default. `nox -s bench` runs them in several fresh processes, a file each, for `effbench compare`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def inference() -> Iterator[None]:
    """For what is run and not trained; counting needs the operators that inference mode hides."""
    import torch

    with torch.inference_mode():
        yield


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """The environment of the project's records, in place of what would name the host."""
    import torch

    from effbench.study import environment

    return {**environment.environment(), "host": environment.host(), "threads": torch.get_num_threads()}


def pytest_benchmark_generate_commit_info() -> dict[str, Any]:
    from effbench.study import environment

    commit, dirty = environment.commit()
    return {"id": commit, "dirty": dirty}

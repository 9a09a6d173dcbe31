"""Cells, records, and a probe that is told what to do, in this process and in the workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import effbench.probes
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Task

ROOT = Path(__file__).parents[2]
SCRIPTED = Path(__file__).parent / "scripted"

MakeTask = Callable[..., Task]


@pytest.fixture(scope="session")
def scripted() -> Iterator[None]:
    """The probe `scripted`, here and in every process that is started from here."""
    paths = [str(SCRIPTED), str(ROOT), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effbench.probes, "__path__", [*effbench.probes.__path__, str(SCRIPTED)])
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        yield
    sys.modules.pop("effbench.probes.scripted", None)


@pytest.fixture(scope="session")
def make_task(scripted: None) -> MakeTask:
    """A task of the scripted probe: its title, what it does, and what else a Task may say."""

    def make(title: str, does: str = "nothing", encoder: str = "fpn", **fields: Any) -> Task:
        options = {"does": does, "title": title}
        cell = Cell(encoder, "none", dataset="none", size="none", classes=1, queries=1, options=options)
        return Task(cell, "scripted", title, **fields)

    return make


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A record with what a test changes about it."""
    plain: dict[str, Any] = {
        "cell": {"encoder": "fpn"},
        "cell_id": "0123456789abcdef",
        "probe": "latency",
        "probe_version": "1",
        "unit": "s",
        "samples": [0.25, 0.5],
        "status": "ok",
        "source": "fedcba9876543210",
        "environment": {"python": "3.11.2", "gpu": None},
        "host": "aabbccddeeff",
        "started_at": "2026-01-02T03:04:05+00:00",
        "seconds": 1.5,
    }
    return lambda **changes: Record(**{**plain, **changes})

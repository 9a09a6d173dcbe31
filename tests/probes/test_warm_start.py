"""The warm start as a task of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.errors import InputError
from effbench.probes import warm_start
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
RECIPE = {"steps": 2, "batch_size": 2, "crop": 64, "criterion": {"sampling": "dense"}}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_second_time_it_is_found_in_the_cache(
    tiny_cell: MakeCell, context: Context, empty_cache: Path, tiny_root: Path
) -> None:
    cell = tiny_cell(options={"warm_start": RECIPE})
    events: list[dict[str, Any]] = []
    context = replace(context, report=lambda **event: events.append(event))
    first = warm_start.measure(cell, context)
    assert [event["done"] for event in events] == [1, 2]
    assert first.unit == "s"
    assert first.detail["cached"] is False
    assert first.detail["data"] == tiny_root.name
    assert (empty_cache / first.detail["file"]).is_file()

    second = warm_start.measure(cell, context)
    assert len(events) == 2, "nothing was trained"
    assert second.detail == {**first.detail, "cached": True}
    assert second.samples[0] < first.samples[0]
    assert 0 < first.detail["training_seconds"] <= first.samples[0]


def test_a_cell_without_a_warm_start_is_refused(tiny_cell: MakeCell, context: Context) -> None:
    with pytest.raises(InputError, match="expected options"):
        warm_start.measure(tiny_cell(), context)

"""What fewer bits change: next to nothing in float32, more in bfloat16, and a planted error is seen in full."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from effbench.probes import precision
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]


@pytest.fixture
def cell(tiny_cell: MakeCell) -> Cell:
    width = {"dim": 32, "mask_dim": 32, "heads": 4, "ffn_dim": 64}
    return tiny_cell(encoder="mask2former", settings={"layers": 2}, width=width)


def test_float32_is_close_to_float64_and_bfloat16_is_not(cell: Cell, context: Context) -> None:
    exact = precision.measure(cell, context)
    rounded = precision.measure(replace(cell, dtype="bfloat16"), context)
    assert json.loads(json.dumps(rounded.detail)) == rounded.detail
    assert list(exact.detail["outputs"]) == ["mask_features", "res5", "res4", "res3"]
    for name, error in exact.detail["outputs"].items():
        assert 0 < error["rms"] < 1e-5, name
        assert 1e-3 < rounded.detail["outputs"][name]["rms"] < 0.2, name
        assert error["largest"] > error["rms"]
    assert exact.samples == [exact.detail["outputs"]["mask_features"]["rms"]]
    assert exact.implementation == {"ms_deform_attn": "cpu"}


def test_an_error_is_measured_against_what_is_wanted() -> None:
    wanted = torch.full((2, 8), 4.0, dtype=torch.float64)
    found = wanted.clone()
    found[0, 0] += 8
    assert precision.relative_error(found, wanted) == pytest.approx({"rms": 0.5, "largest": 2.0})
    assert precision.relative_error(wanted, wanted) == {"rms": 0.0, "largest": 0.0}


def test_tf32_needs_a_gpu(cell: Cell, context: Context) -> None:
    with pytest.raises(ValueError, match="tf32 with float32 on cpu"):
        precision.measure(replace(cell, options={"tf32": True}), context)

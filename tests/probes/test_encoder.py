"""The whole encoder: everybody gets the same weights and maps, and what is wrong is not timed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from effbench.errors import InputError
from effbench.probes import encoder
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
WIDTH = {"dim": 32, "mask_dim": 32, "heads": 4, "ffn_dim": 64}
OURS = {"implementation": "effbench", "samples": 2}


@pytest.fixture
def cell(tiny_cell: MakeCell) -> Cell:
    return tiny_cell(encoder="mask2former", settings={"layers": 2}, width=WIDTH, size="64x96", options=OURS)


def also(cell: Cell, **options: Any) -> Cell:
    return replace(cell, options={**cell.options, **options})


def test_ours_in_every_form(cell: Cell, context: Context) -> None:
    for form in ({}, {"channels_last": True}, {"fixed_size": True}, {"channels_last": True, "fixed_size": True}):
        found = encoder.measure(also(cell, **form), context)
        assert json.loads(json.dumps(found.detail)) == found.detail
        assert len(found.samples) == 2 and min(found.samples) > 0 and found.unit == "s"
        assert found.implementation == {"encoder": "effbench", "ms_deform_attn": "cpu"}
        assert list(found.detail["outputs"]) == ["mask_features", "res5", "res4", "res3"]
        assert all(0 < error["rms"] < 1e-5 for error in found.detail["outputs"].values())
        wanted = {"channels_last": False, "fixed_size": False, **form}
        assert {name: found.detail["conditions"][name] for name in wanted} == wanted
        assert found.detail["graph_breaks"] is None


@pytest.mark.parametrize(("op", "ran"), [(None, "transformers"), ("cpu", "cpu"), ("reference", "reference")])
def test_theirs_with_its_operator_and_with_another(op: str | None, ran: str, cell: Cell, context: Context) -> None:
    pytest.importorskip("transformers", reason="transformers, a peer to compare with, is not installed")
    found = encoder.measure(also(cell, implementation="transformers", op=op), context)
    assert found.implementation == {"encoder": "transformers", "ms_deform_attn": ran}
    assert len(found.samples) == 2 and found.detail["version"][0].isdigit()
    assert all(0 < error["rms"] < 1e-5 for error in found.detail["outputs"].values())


def test_samples_lie_between_pixels_and_weigh_what_tokens_say(cell: Cell) -> None:
    """As initialised, neither offsets nor logits would depend on the tokens."""
    layer = encoder._asked(cell).encoder.get_submodule("transformer.encoder.layers.0.self_attn")
    tokens = torch.randn(500, 32, dtype=torch.float64)
    moved = tokens @ layer.get_parameter("sampling_offsets.weight").T
    assert moved.std() == pytest.approx(encoder.OFFSETS_PX, rel=0.3)
    assert (tokens @ layer.get_parameter("attention_weights.weight").T).std() == pytest.approx(1, rel=0.3)


def test_all_are_asked_the_same(cell: Cell) -> None:
    asked = encoder._asked(cell)
    assert encoder._asked(also(replace(cell, dtype="bfloat16"), implementation="transformers")) is asked
    other = encoder._asked(replace(cell, batch=2))
    assert other is not asked and other.truth["res5"].shape == (2, 32, 2, 3)


@pytest.mark.parametrize("planted", [0.01, float("nan")])
def test_what_is_wrong_has_no_time(planted: float, cell: Cell, context: Context, monkeypatch: Any) -> None:
    def spoilt(*arguments: Any) -> Any:
        module, inputs = in_form(*arguments)
        module.mask_features.weight.data[0] += planted
        return module, inputs

    in_form = encoder.in_form
    monkeypatch.setattr(encoder, "in_form", spoilt)
    found = encoder.measure(cell, context)
    assert found.samples == [] and "times" not in found.detail
    said = found.detail["invalid"]
    assert said.startswith("wrong, and not timed; errors above 0.0001: mask_features ") and ", res" not in said


def test_16_bits_are_held_against_their_own_limit(cell: Cell, context: Context) -> None:
    found = encoder.measure(replace(cell, dtype="bfloat16"), context)
    assert found.detail["limit"] == encoder.LIMITS["bfloat16"] and len(found.samples) == 2
    assert 1e-3 < found.detail["outputs"]["mask_features"]["rms"] < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "fpn", "settings": {}, "width": {}}, "probe encoder on fpn; expected mask2former"),
        ({"options": {**OURS, "implementation": "theirs"}}, "implementation 'theirs'; expected one of effbench, trans"),
        ({"size": "65x96"}, "size 65x96 is timed without padding; expected multiples of 32"),
        (
            {"options": {**OURS, "implementation": "transformers", "channels_last": True}},
            "transformers' encoder under float32, channels last; expected it eager",
        ),
    ],
)
def test_what_cannot_be_asked(changes: dict[str, Any], message: str, cell: Cell, context: Context) -> None:
    with pytest.raises(InputError, match=message):
        encoder.measure(replace(cell, **changes), context)


def test_what_is_not_here_is_named(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoder.missing(cell) is None
    theirs = also(cell, implementation="transformers")
    reason = encoder.missing(also(theirs, op="dcnv4"))
    assert reason == "DCNv4 is not installed"
    assert "needs a CUDA device" in str(encoder.missing(also(theirs, op="triton")))
    assert encoder.missing(also(theirs, op="cpu")) is None
    monkeypatch.setattr(encoder, "absent", lambda: "transformers is not installed")
    assert encoder.missing(theirs) == "transformers is not installed"
    assert str(encoder.missing(also(cell, mode="graph"))).startswith("mode graph needs a CUDA device")

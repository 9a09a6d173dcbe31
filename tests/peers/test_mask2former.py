"""transformers' encoder with our weights: the same maps, by its operator and by another in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import Encoder, EncoderOutput, FeatureSpec
from effbench.encoders.registry import build_encoder, setting_defaults
from effbench.peers import mask2former
from effbench.peers.mask2former import TheirEncoder, counterparts, their_encoder, translated
from effbench.peers.registry import find

pytest.importorskip("transformers", reason="transformers, a peer to compare with, is not installed")

Pyramid = Callable[..., dict[str, Tensor]]
SETTINGS = {"dim": 64, "mask_dim": 32, "heads": 4, "ffn_dim": 48, "layers": 2}


SPECS = {f"res{i + 2}": FeatureSpec(8 * 2**i, 4 * 2**i) for i in range(4)}


@pytest.fixture
def ours() -> Encoder:
    torch.manual_seed(0)
    return build_encoder("mask2former", SPECS, **SETTINGS).eval()


@pytest.fixture
def pyramid() -> Pyramid:
    def make(batch: int) -> dict[str, Tensor]:
        return {name: torch.randn(batch, c, 64 // s, 96 // s) for name, (c, s) in SPECS.items()}

    return make


def theirs(ours: Encoder, op: Any = None) -> TheirEncoder:
    settings = {**setting_defaults("mask2former"), **SETTINGS}
    return their_encoder(ours.state_dict(), ours.specs, settings, op)


def same(a: EncoderOutput, b: EncoderOutput) -> None:
    for x, y in zip((a.mask_features, *a.multi_scale), (b.mask_features, *b.multi_scale), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-4)


def test_it_gives_what_ours_gives(ours: Encoder, pyramid: Pyramid) -> None:
    features = pyramid(2)
    with torch.no_grad():
        same(theirs(ours)(features), ours(features))
    assert not theirs(ours).training and not any(p.requires_grad for p in theirs(ours).parameters())


def test_another_operator_takes_the_place_of_theirs(ours: Encoder, pyramid: Pyramid) -> None:
    """It is called once for every layer, with arguments as our operator has them, and not by other models."""
    calls: list[Any] = []
    op = find("cpu").load().op
    assert op is not None

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments[1])
        return op(*arguments)

    features = pyramid(1)
    with torch.no_grad():
        same(theirs(ours, counted)(features), ours(features))
        assert calls == 2 * [[(2, 3), (4, 6), (8, 12)]]
        theirs(ours)(features)
    assert len(calls) == 2


def test_the_operator_is_put_back_after_an_error(ours: Encoder, pyramid: Pyramid) -> None:
    def broken(*_: Any) -> Tensor:
        raise RuntimeError("no kernel image")

    features = pyramid(1)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match="no kernel image"):
            theirs(ours, broken)(features)
        same(theirs(ours)(features), ours(features))


def test_a_weight_without_a_counterpart_is_named(ours: Encoder) -> None:
    with pytest.raises(KeyError, match=r"transformer\.encoder\.layers\.1\.self_attn"):
        translated(ours.state_dict(), counterparts(1))
    settings = {**setting_defaults("mask2former"), **SETTINGS, "layers": 3}
    with pytest.raises(RuntimeError, match=r"Missing key.*encoder\.layers\.2"):
        their_encoder(ours.state_dict(), ours.specs, settings)


def test_without_transformers_the_reason_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mask2former.absent() is None
    monkeypatch.setattr(mask2former, "PACKAGE", "no_such_package")
    assert mask2former.absent() == "no_such_package is not installed"

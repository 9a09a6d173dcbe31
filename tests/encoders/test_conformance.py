"""What every encoder promises, asked of every registered one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.conformance.gradients import unused_maps
from effbench.conformance.kit import conform
from effbench.conformance.subject import Subject
from effbench.encoders.contract import Encoder, FeatureSpec, SettingError
from effbench.encoders.layers import EMBEDDINGS
from effbench.encoders.registry import build_encoder, encoder_class, registered, setting_defaults

Pyramid = Callable[..., dict[str, Tensor]]
Build = Callable[..., Encoder]

# Narrow and shallow; mask_dim differs from dim, so that a mix-up shows.
SMALL = {
    "dim": 64,
    "mask_dim": 32,
    "heads": 4,
    "points": 2,
    "ffn_dim": 64,
    "layers": 2,
    "p": (1, 1, 1),
    "n": (2, 1, 0),
    "d": (48, 32, 32),
}

# Settings that choose another way through the code; an encoder that is not listed is tested once.
WAYS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "mask2former": ({}, {"embedding": "max_pool", "layers": 1}, {"embedding": "none", "res2": False}),
    "rt": ({}, {"fused": True, "position": "aligned", "embedding": "none"}),
    "convnext_unet": ({}, {"squeeze_excite": False, "n": (1, 1, 1), "d": (32, 32, 32)}),
    "early_exit": (
        {"layers": 3, "exits": (1, 3)},
        {"base": "lite", "layers": 4, "exits": (1, 2, 3)},
        {"base": "proscale", "p": (1, 1, 2)},
    ),
    "proscale": (
        {},
        {"recalibration": "released_conv", "p": (2, 0, 1)},
        {"recalibration": "transposed", "residual": True},
        {"recalibration": "off", "embedding": "conv", "p": (1, 1, 0)},
    ),
}
CASES = [
    pytest.param(name, settings, id=f"{name}-{'-'.join(f'{k}={v}' for k, v in settings.items()) or 'defaults'}")
    for name in registered()
    for settings in WAYS.get(name, ({},))
]
each_encoder = pytest.mark.parametrize(("name", "settings"), CASES)


@pytest.fixture
def build(specs: dict[str, FeatureSpec]) -> Build:
    def make(name: str, **settings: Any) -> Encoder:
        return build_encoder(name, specs, **{**small(name, settings), **settings})

    return make


def small(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in SMALL.items() if key in setting_defaults(name, settings)}


@pytest.fixture
def subject(name: str, settings: dict[str, Any], specs: dict[str, FeatureSpec]) -> Subject:
    return Subject(name, encoder_class(name), specs, {**small(name, settings), **settings})


@each_encoder
def test_the_contract_is_kept(subject: Subject) -> None:
    assert [result.line for result in conform(subject) if result.status != "ok"] == []


@each_encoder
def test_every_map_is_used(subject: Subject) -> None:
    assert unused_maps(subject) == ([] if subject.settings.get("res2", True) else ["res2"])


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("name", [n for n in registered() if "embedding" in setting_defaults(n)])
def test_every_embedding(name: str, embedding: str, build: Build, pyramid: Pyramid) -> None:
    encoder = build(name, embedding=embedding)
    output = encoder(pyramid(1))
    assert output.mask_features.shape == (1, SMALL["mask_dim"], 16, 24)
    (output.mask_features * torch.randn_like(output.mask_features)).sum().backward()
    assert all(
        p.grad is not None and p.grad.any() for key, p in encoder.named_parameters() if key.startswith("layer_1.")
    )


@pytest.mark.parametrize("name", registered())
def test_records_learn_which_operator_ran(name: str, build: Build) -> None:
    encoder = build(name)
    expected = {"ms_deform_attn": "cpu"} if "impl" in setting_defaults(name) else {}
    assert encoder.implementation() == expected


BAD: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("dim", 0, ("dim=0", "integer of at least 1")),
    ("dim", 48, ("dim=48", "multiple of 32")),
    ("dim", 64.0, ("dim=64.0", "integer")),
    ("mask_dim", -1, ("mask_dim=-1", "integer of at least 1")),
    ("embedding", "maxpool", ("embedding='maxpool'", *EMBEDDINGS)),
    ("heads", 5, ("dim=64", "heads=5", "multiple of 5")),
    ("heads", 0, ("heads=0", "at least 1")),
    ("points", 0, ("points=0", "at least 1")),
    ("ffn_dim", 0, ("ffn_dim=0", "at least 1")),
    ("layers", 0, ("layers=0", "at least 1")),
    ("layers", True, ("layers=True", "integer")),
    ("impl", "cuda", ("impl='cuda'", "'auto'", "reference")),
)


@pytest.mark.parametrize(
    ("name", "setting", "value", "said"),
    [(name, *bad) for name in registered() for bad in BAD if bad[0] in setting_defaults(name)],
)
def test_bad_settings_say_what_is_allowed(
    name: str, setting: str, value: Any, said: tuple[str, ...], build: Build
) -> None:
    with pytest.raises(SettingError) as raised:
        build(name, **{setting: value})
    assert [part for part in said if part not in str(raised.value)] == [], str(raised.value)
    assert "\n" not in str(raised.value)

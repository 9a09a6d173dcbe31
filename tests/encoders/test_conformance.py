"""What every encoder promises, asked of every registered one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import Encoder, EncoderOutput, FeatureSpec, SettingError
from effbench.encoders.layers import EMBEDDINGS
from effbench.encoders.registry import build_encoder, registered, setting_defaults

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
        small = {key: value for key, value in SMALL.items() if key in setting_defaults(name)}
        return build_encoder(name, specs, **{**small, **settings})

    return make


def tensors(output: EncoderOutput) -> tuple[Tensor, ...]:
    return output.mask_features, *output.multi_scale


def assert_same(a: EncoderOutput, b: EncoderOutput, tolerance: float = 0.0) -> None:
    for ours, theirs in zip(tensors(a), tensors(b), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    assert (a.exit is None) == (b.exit is None)
    assert a.exit is None or b.exit is None or torch.equal(a.exit, b.exit)


@torch.no_grad()
def moved(encoder: Encoder) -> Encoder:
    """Away from an initialisation with zeros, which stop gradients legitimately and hide what depends on the query."""
    for parameter in encoder.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    return encoder


@each_encoder
@pytest.mark.parametrize("size", [(64, 96), (96, 160), (32, 32), (72, 100)], ids=str)
@torch.no_grad()
def test_output_contract(
    name: str, settings: dict[str, Any], size: tuple[int, int], build: Build, pyramid: Pyramid
) -> None:
    features = pyramid(2, size)
    output = build(name, **settings).eval()(features)
    assert isinstance(output, EncoderOutput)
    assert output.mask_features.shape == (2, SMALL["mask_dim"], *features["res2"].shape[2:])
    expected = [(2, SMALL["dim"], *features[key].shape[2:]) for key in ("res5", "res4", "res3")]
    assert [tuple(x.shape) for x in output.multi_scale] == expected
    assert output.exit is None or (output.exit.shape == (2,) and not output.exit.is_floating_point())
    for x in tensors(output):
        assert x.dtype == torch.float32 and x.isfinite().all()


@each_encoder
@torch.no_grad()
def test_float64_in_float64_out(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    encoder, features = build(name, **settings).eval(), pyramid(1)
    single = encoder(features)
    double = encoder.double()({key: x.double() for key, x in features.items()})
    for a, b in zip(tensors(single), tensors(double), strict=True):
        assert b.dtype == torch.float64
        torch.testing.assert_close(a, b.float(), rtol=1e-3, atol=1e-4)


@each_encoder
def test_autocast_stays_close_to_float32_and_trains(
    name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid
) -> None:
    encoder, features = moved(build(name, **settings)), pyramid(1)
    single = encoder(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = encoder(features)
    for a, b in zip(tensors(single), tensors(mixed), strict=True):
        assert (b.float() - a).norm() < 0.05 * a.norm(), "off by more than the rounding of twenty bfloat16 layers"
        assert not torch.equal(b.float(), a), "the comparison ran in one precision"
    sum(
        (x.float() * torch.randn_like(a)).sum() for x, a in zip(tensors(mixed), tensors(single), strict=True)
    ).backward()
    bad = [key for key, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == []


@each_encoder
@torch.no_grad()
def test_maps_are_found_by_name(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    encoder, features = build(name, **settings).eval(), pyramid(1)
    shuffled = {"stem": torch.zeros(1), **dict(reversed(features.items()))}
    assert_same(encoder(shuffled), encoder(features))


@each_encoder
def test_specs_are_found_by_name(name: str, settings: dict[str, Any], specs: dict[str, FeatureSpec]) -> None:
    small = {key: value for key, value in SMALL.items() if key in setting_defaults(name)} | settings
    plain = {key: tuple(spec) for key, spec in reversed(specs.items())}
    with torch.device("meta"):
        shapes = [
            {key: x.shape for key, x in build_encoder(name, given, **small).state_dict().items()}
            for given in (plain, specs)
        ]
    assert shapes[0] == shapes[1]


@each_encoder
@torch.no_grad()
def test_an_image_alone_and_in_a_batch(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    encoder, features = build(name, **settings).eval(), pyramid(2)
    together = encoder(features)
    for i in range(2):
        alone = encoder({key: x[i : i + 1] for key, x in features.items()})
        for a, b in zip(tensors(alone), tensors(together), strict=True):
            torch.testing.assert_close(a[0], b[i], rtol=0, atol=1e-5)


@each_encoder
def test_gradients_reach_every_parameter(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    encoder = moved(build(name, **settings))
    features = {key: x.requires_grad_() for key, x in pyramid(2).items()}
    # random weights, because a norm makes the plain sum a constant
    sum((x * torch.randn_like(x)).sum() for x in tensors(encoder(features))).backward()
    leaves = {**dict(encoder.named_parameters()), **features}
    unreached = [key for key, x in leaves.items() if x.grad is None or not x.grad.isfinite().all() or not x.grad.any()]
    assert unreached == ([] if settings.get("res2", True) else ["res2"])


@each_encoder
@torch.no_grad()
def test_state_dict_round_trip(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    first, second, features = build(name, **settings).eval(), build(name, **settings).eval(), pyramid(1)
    assert not torch.equal(first(features).mask_features, second(features).mask_features)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert_same(second(features), first(features))


@each_encoder
@torch.no_grad()
def test_the_same_seed_gives_the_same_output(
    name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid
) -> None:
    features, outputs = pyramid(1), []
    for _ in range(2):
        torch.manual_seed(5)
        encoder = build(name, **settings).eval()
        outputs += [encoder(features), encoder(features)]
    for output in outputs[1:]:
        assert_same(output, outputs[0])


def held(encoder: nn.Module) -> dict[tuple[str, str], tuple[object, int | None]]:
    """Every attribute of every module, and the length of those that could grow."""
    return {
        (path, key): (value, len(value) if isinstance(value, (dict, list, set)) else None)
        for path, module in encoder.named_modules()
        for key, value in vars(module).items()
    }


@each_encoder
@torch.no_grad()
def test_forward_keeps_nothing_and_leaves_its_input(
    name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid
) -> None:
    encoder, features = build(name, **settings).eval(), pyramid(1)
    given = {key: x.clone() for key, x in features.items()}
    weights = {key: x.clone() for key, x in encoder.state_dict().items()}
    attributes = held(encoder)
    encoder(features)
    after = held(encoder)
    assert after.keys() == attributes.keys()
    changed = [
        key for key, (value, length) in after.items() if value is not attributes[key][0] or length != attributes[key][1]
    ]
    assert changed == []
    assert [key for key, x in encoder.state_dict().items() if not torch.equal(x, weights[key])] == []
    assert [key for key, x in features.items() if not torch.equal(x, given[key])] == []


@each_encoder
def test_meta_tensors_give_the_shapes(name: str, settings: dict[str, Any], build: Build, pyramid: Pyramid) -> None:
    features = pyramid(2)
    encoder = build(name, **settings).eval()
    real = encoder(features)
    meta = encoder.to("meta")({key: x.to("meta") for key, x in features.items()})
    assert {x.device.type for x in tensors(meta)} == {"meta"}
    assert [(x.shape, x.dtype) for x in tensors(meta)] == [(x.shape, x.dtype) for x in tensors(real)]


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
    expected = {"ms_deform_attn": "reference"} if "impl" in setting_defaults(name) else {}
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

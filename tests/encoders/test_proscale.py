"""PRO-SCALE: the released module's numbers, the order in which tokens enter, and the recalibration."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import FeatureSpec, SettingError
from effbench.encoders.layers import EMBEDDINGS
from effbench.encoders.proscale import RECALIBRATIONS, ProScaleEncoder, TokenRecalibration

Pyramid = Callable[..., dict[str, Tensor]]
Build = Callable[..., ProScaleEncoder]
TOKENS = (2 * 3, 4 * 6, 8 * 12)  # of res5, res4, res3 in a 64x96 image


@pytest.fixture
def build(specs: dict[str, FeatureSpec]) -> Build:
    def make(p: Any = (1, 1, 1), **settings: Any) -> ProScaleEncoder:
        return ProScaleEncoder(specs, p=p, **{"dim": 64, "heads": 4, "ffn_dim": 64, "points": 2, **settings})

    return make


@pytest.mark.parametrize("p", [(1, 1, 1), (2, 2, 2)])
@torch.no_grad()
def test_agrees_with_the_released_module(p: tuple[int, int, int], released: ModuleType) -> None:
    theirs = released.load(f"proscale_{''.join(map(str, p))}_maxpool")
    features = {f"res{i + 2}": (c, 4 * 2**i) for i, c in enumerate(theirs.config["in_channels"])}
    encoder = ProScaleEncoder(features, p=p, dim=theirs.config["conv_dim"], mask_dim=theirs.config["mask_dim"])
    assert released.shapes_of(encoder) == theirs.parameters
    released.set_weights(encoder)
    output = encoder({name: released.draw(f"input.{name}", shape) for name, shape in theirs.inputs.items()})
    torch.testing.assert_close(output.mask_features[:1], theirs.outputs["mask_features"], rtol=0, atol=1e-5)
    for i, x in enumerate(output.multi_scale):
        torch.testing.assert_close(x, theirs.outputs[f"multi_scale.{i}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("depth", "parameters"), [(1, 2_561_345), (2, 4_683_905), (3, 6_806_465)])
def test_parameters_of_the_released_module(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        encoder = ProScaleEncoder({f"res{i + 2}": (96 * 2**i, 4 * 2**i) for i in range(4)}, p=(depth,) * 3)
    assert sum(x.numel() for x in encoder.parameters()) == parameters


@pytest.mark.parametrize("recalibration", RECALIBRATIONS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@torch.no_grad()
def test_every_combination_runs(embedding: str, recalibration: str, build: Build, pyramid: Pyramid) -> None:
    output = build(embedding=embedding, recalibration=recalibration, mask_dim=32)(pyramid(2))
    assert output.mask_features.shape == (2, 32, 16, 24) and output.mask_features.isfinite().all()
    assert [x.flatten(2).shape for x in output.multi_scale] == [(2, 64, n) for n in TOKENS]


@pytest.mark.parametrize("p", [(1, 1, 1), (0, 0, 1), (2, 0, 1), (1, 1, 0), (0, 2, 0), [1, 0, 0]], ids=str)
@torch.no_grad()
def test_tokens_enter_scale_by_scale(p: tuple[int, int, int], build: Build, pyramid: Pyramid) -> None:
    encoder, seen = build(p), []
    for layer in encoder.transformer.encoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].shape[1], len(inputs[3]))))
    encoder(pyramid(1))
    assert seen == [(sum(TOKENS[: stage + 1]), stage + 1) for stage in range(3) for _ in range(p[stage])]


@torch.no_grad()
def test_scales_without_a_stage_leave_as_they_came(build: Build, pyramid: Pyramid) -> None:
    encoder, features = build((1, 0, 0)), pyramid(1)
    coarse, middle, fine = encoder(features).multi_scale
    raw = [project(features[name]) for project, name in zip(encoder.input_proj, ("res5", "res4", "res3"), strict=True)]
    assert not torch.allclose(coarse, raw[0])
    excite = encoder.transformer.encoder.token_excite
    context = raw[2].flatten(2).transpose(1, 2)
    gated = excite(raw[1].flatten(2).transpose(1, 2), context, (4, 6), (8, 12))
    torch.testing.assert_close(middle, gated.transpose(1, 2).unflatten(2, (4, 6)))
    torch.testing.assert_close(fine, raw[2])


@torch.no_grad()
def test_recalibrations_differ(build: Build, pyramid: Pyramid) -> None:
    features, outputs = pyramid(1), {}
    state = build().state_dict()
    for kind in ("released", "transposed", "off"):
        encoder = build(recalibration=kind)
        missing, unexpected = encoder.load_state_dict(state, strict=False)
        assert missing == [] and all("token_excite" in key for key in unexpected)
        outputs[kind] = encoder(features).multi_scale[0]
    assert not torch.allclose(outputs["released"], outputs["transposed"], atol=1e-3)
    assert not torch.allclose(outputs["released"], outputs["off"], atol=1e-3)


def test_off_has_no_recalibration_parameters(build: Build) -> None:
    on = {name for name, _ in build().named_parameters()}
    off = {name for name, _ in build(recalibration="off").named_parameters()}
    assert on - off == {f"transformer.encoder.token_excite.ops.{kind}" for kind in ("weight", "bias")}
    assert off <= on


def test_transposed_gates_each_token_by_the_place_it_covers() -> None:
    """Halving a map with bilinear sampling averages 2x2 blocks, which is easily done by hand."""
    excite = TokenRecalibration(4, "transposed", temperature=0.5).double()
    tokens, context = torch.randn(2, 2 * 3, 4).double(), torch.randn(2, 4 * 6, 4).double()
    gated = excite(tokens, context, (2, 3), (4, 6))
    for y in range(2):
        for x in range(3):
            block = torch.stack([context[:, (2 * y + i) * 6 + 2 * x + j] for i in (0, 1) for j in (0, 1)]).mean(0)
            gate = torch.sigmoid(0.5 * (block @ excite.ops.weight[0] + excite.ops.bias))
            torch.testing.assert_close(gated[:, y * 3 + x], tokens[:, y * 3 + x] * gate[:, None])


@pytest.mark.parametrize("kind", ["released", "released_conv"])
def test_released_forms_read_the_memory_untransposed(kind: str) -> None:
    B, C, H, W = 2, 4, 2, 3
    excite = TokenRecalibration(C, kind, temperature=0.1).double()
    tokens, context = torch.randn(B, H * W, C).double(), torch.randn(B, 4 * H * W, C).double()
    image = context.flatten(1).view(B, C, 2 * H, 2 * W)
    halved = (image[:, :, ::2, ::2] + image[:, :, 1::2, ::2] + image[:, :, ::2, 1::2] + image[:, :, 1::2, 1::2]) / 4
    weight, bias = excite.ops.weight.view(C), excite.ops.bias
    if kind == "released":
        gate = torch.sigmoid(0.1 * (halved.flatten(1).view(B, H * W, C) @ weight + bias))
        expected = tokens * gate[:, :, None]
    else:
        gate = torch.sigmoid(0.1 * (torch.einsum("bchw,c->bhw", halved, weight) + bias))
        expected = (tokens.flatten(1).view(B, C, H, W) * gate[:, None]).flatten(1).view(B, H * W, C)
    torch.testing.assert_close(excite(tokens, context, (H, W), (2 * H, 2 * W)), expected)


@torch.no_grad()
def test_a_cold_recalibration_halves_every_coarse_token(build: Build, pyramid: Pyramid) -> None:
    features = pyramid(1)
    encoder = build((0, 0, 1), temperature=0.0)
    plain = build((0, 0, 1), recalibration="off")
    plain.load_state_dict(encoder.state_dict(), strict=False)
    entered: list[Tensor] = []
    for model in (encoder, plain):
        model.transformer.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        model(features)
    cold, raw = entered
    coarse = sum(TOKENS[:2])
    torch.testing.assert_close(cold[:, :coarse], raw[:, :coarse] / 2)
    assert torch.equal(cold[:, coarse:], raw[:, coarse:])


@torch.no_grad()
def test_residual_adds_the_stages_input_after_each_of_its_layers(build: Build, pyramid: Pyramid) -> None:
    features = pyramid(1)
    plain = build((2, 0, 0))
    residual = build((2, 0, 0), residual=True)
    residual.load_state_dict(plain.state_dict())
    entered: list[Tensor] = []
    left: list[Tensor] = []
    for layer in residual.transformer.encoder.layers:
        layer.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        layer.register_forward_hook(lambda _, inputs, output: left.append(output))
    output = residual(features).multi_scale[0]
    torch.testing.assert_close(entered[1], left[0] + entered[0])
    torch.testing.assert_close(output.flatten(2).transpose(1, 2), left[1] + entered[0])
    assert not torch.allclose(output, plain(features).multi_scale[0])


@torch.no_grad()
def test_residual_leaves_the_third_stage_alone(build: Build, pyramid: Pyramid) -> None:
    features, plain, residual = pyramid(1), build((0, 0, 2)), build((0, 0, 2), residual=True)
    residual.load_state_dict(plain.state_dict())
    assert torch.equal(residual(features).mask_features, plain(features).mask_features)


@pytest.mark.parametrize("p", [(0, 0, 0), (1, 1), (1, 1, 1, 1), (1, -1, 1), (1, 1.5, 1), 3, "111", None], ids=str)
def test_bad_p(p: Any, build: Build) -> None:
    with pytest.raises(SettingError) as raised:
        build(p)
    assert f"p={p!r}, expected three layer counts of at least 0, not all 0" in str(raised.value)


def test_bad_recalibration(build: Build) -> None:
    with pytest.raises(
        SettingError, match="recalibration='on', expected one of released, released_conv, transposed, off"
    ):
        build(recalibration="on")

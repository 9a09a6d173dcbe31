"""An encoder for one size gives what the encoder gives, refuses other sizes, and leaves the encoder as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import Encoder, FeatureSpec, SettingError
from effbench.encoders.deformable import DeformableLayer, MSDeformAttn, positions
from effbench.encoders.layers import TableLinear
from effbench.encoders.registry import build_encoder

Pyramid = Callable[..., dict[str, Tensor]]
HEIGHT, WIDTH = 64, 96
SMALL = {"dim": 64, "mask_dim": 32, "heads": 4, "points": 2, "ffn_dim": 64}
CASES: dict[str, dict[str, Any]] = {
    "mask2former": {"layers": 2},
    "lite": {"layers": 3},
    "proscale": {"p": (1, 2, 1), "residual": True},
    "early_exit": {"layers": 3, "exits": (1, 2, 3)},
}
each = pytest.mark.parametrize("name", CASES)


@pytest.fixture
def build(specs: dict[str, FeatureSpec]) -> Callable[[str], Encoder]:
    def make(name: str) -> Encoder:
        torch.manual_seed(0)
        encoder = build_encoder(name, specs, **SMALL, **CASES[name]).eval()
        for module in encoder.modules():
            if isinstance(module, MSDeformAttn):  # as initialised, what is projected does not matter
                nn.init.normal_(module.sampling_offsets.weight, std=0.2)
                nn.init.normal_(module.attention_weights.weight, std=0.2)
        return encoder

    return make


def doubled(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.double() for name, x in features.items()}


def maps_of(encoder: Encoder, features: dict[str, Tensor], **how: Any) -> list[Tensor]:
    with torch.no_grad():
        output = encoder(features, **how)
    return [output.mask_features, *output.multi_scale]


@each
@pytest.mark.parametrize("batch", [1, 2])
def test_it_gives_the_same(name: str, batch: int, build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    encoder, features = build(name).double(), doubled(pyramid(batch))
    given = maps_of(encoder, features)
    for ours, theirs in zip(maps_of(encoder.at_size(HEIGHT, WIDTH), features), given, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_images_that_leave_apart(build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    encoder, features = build("early_exit").double(), doubled(pyramid(3))
    exits = torch.tensor([3, 1, 2])
    given = maps_of(encoder, features, exit=exits)
    for ours, theirs in zip(maps_of(encoder.at_size(HEIGHT, WIDTH), features, exit=exits), given, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@each
def test_no_position_is_computed_or_added(
    name: str, build: Callable[[str], Encoder], pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, features = build(name).at_size(HEIGHT, WIDTH), pyramid(1)

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed again")

    for function in ("positions", "reference_points"):
        monkeypatch.setattr(f"effbench.encoders.mask2former.{function}", refused)
    places: list[Any] = []
    for module in encoder.modules():
        if isinstance(module, DeformableLayer):
            module.register_forward_pre_hook(lambda _, arguments: places.append(arguments[1]))
    maps_of(encoder, features)
    assert places and set(places) == {None}


@each
def test_another_size_is_refused(name: str, build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    encoder = build(name).at_size(HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"maps of \[\(3, 2\).* in an encoder made for \[\(2, 3\).*`at_size`"):
        maps_of(encoder, pyramid(1, (WIDTH, HEIGHT)))


@each
def test_it_is_made_for_maps_that_are_rounded_up(name: str, build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    assert len(maps_of(build(name).at_size(HEIGHT - 5, WIDTH - 9), pyramid(1, (HEIGHT - 5, WIDTH - 9)))) == 4
    with pytest.raises(SettingError, match="height=0, expected an integer of at least 1"):
        build(name).at_size(0, WIDTH)


@each
def test_what_is_made_for_one_size_is_made_for_no_other(name: str, build: Callable[[str], Encoder]) -> None:
    with pytest.raises(SettingError, match=r"made for maps of \[\(2, 3\).* already; expected the one that `at_size`"):
        build(name).at_size(HEIGHT, WIDTH).at_size(HEIGHT, WIDTH)


@each
def test_the_encoder_itself_stays_as_it_was(name: str, build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    encoder, features = build(name).train(), pyramid(1)
    state = {key: x.clone() for key, x in encoder.state_dict().items()}
    given = maps_of(encoder, features)
    sized = encoder.at_size(HEIGHT, WIDTH)
    with torch.no_grad():
        for parameter in sized.parameters():
            parameter.zero_()
    assert all(torch.equal(x, state[key]) for key, x in encoder.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(maps_of(encoder, features), given, strict=True))
    assert encoder.training and not sized.training
    assert all(p.requires_grad for p in encoder.parameters()) and not any(p.requires_grad for p in sized.parameters())


@pytest.mark.parametrize("name", ["fpn", "rt", "convnext_unet"])
def test_what_has_no_such_form_says_so(name: str, specs: dict[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match="has no form for one size"):
        build_encoder(name, specs).at_size(HEIGHT, WIDTH)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_table_takes_the_place_of_a_sum(batch: int) -> None:
    linear, position = nn.Linear(8, 5).double(), torch.randn(7, 8, dtype=torch.float64)
    x = torch.randn(batch, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(TableLinear(linear, position)(x), linear(x + position[:4]), rtol=0, atol=1e-12)


def test_tables_are_made_in_float32_for_16_bits() -> None:
    """Positions of bfloat16 would be off by a hundredth; only the table is rounded."""
    level_embed = torch.zeros(1, 16)
    position = positions([(5, 7)], level_embed)
    linear = nn.Linear(16, 4)
    exact = linear(position)
    table = TableLinear(linear.bfloat16(), position).table
    assert table.dtype == torch.bfloat16
    rounded = nn.functional.linear(position, linear.weight.float(), linear.bias.float())
    assert torch.equal(table, rounded.bfloat16()) and (rounded - exact).abs().max() < 0.02


@pytest.mark.parametrize("name", ["mask2former", "lite", "proscale"])
def test_it_compiles_in_one_graph(name: str, build: Callable[[str], Encoder], pyramid: Pyramid) -> None:
    encoder, features = build(name).at_size(HEIGHT, WIDTH), pyramid(1)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        found = compiled(features)
    for ours, theirs in zip([found.mask_features, *found.multi_scale], maps_of(encoder, features), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)

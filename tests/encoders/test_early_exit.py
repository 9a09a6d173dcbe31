"""Early exit: real exits, each image's own, with the weights and names of the encoder whose layers are left."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import Encoder, EncoderOutput, FeatureSpec, SettingError
from effbench.encoders.deformable import DeformableLayer
from effbench.encoders.early_exit import EarlyExitEncoder
from effbench.encoders.registry import build_encoder, setting_defaults

Pyramid = Callable[..., dict[str, Tensor]]
SMALL: dict[str, Any] = {"dim": 64, "mask_dim": 32, "heads": 4, "points": 2, "ffn_dim": 64}
BASES: Mapping[str, dict[str, Any]] = {
    "mask2former": {"layers": 6},
    "lite": {"layers": 6},
    "proscale": {"p": (2, 2, 3)},
}
EXITS = {"mask2former": (2, 3, 4, 5, 6), "lite": (2, 3, 4, 5), "proscale": (2, 4, 5, 6, 7)}
ALONE = 1e-5


@pytest.fixture(params=list(BASES))
def base(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def build(specs: Mapping[str, FeatureSpec]) -> Callable[..., EarlyExitEncoder]:
    """An early-exit encoder whose weights are all drawn anew, so that nothing is zero or the same by chance."""

    def make(base: str, **settings: Any) -> EarlyExitEncoder:
        torch.manual_seed(0)
        encoder = build_encoder("early_exit", specs, base=base, **{**SMALL, **BASES[base], **settings})
        assert isinstance(encoder, EarlyExitEncoder)
        return disturbed(encoder)

    return make


def disturbed(encoder: Any) -> Any:
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


@contextmanager
def layers_run(encoder: nn.Module) -> Iterator[list[int]]:
    """The batch that each deformable layer is called with, in the order of the calls."""
    batches: list[int] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
        for module in encoder.modules()
        if isinstance(module, DeformableLayer)
    ]
    try:
        yield batches
    finally:
        for handle in handles:
            handle.remove()


def assert_equal(one: EncoderOutput, other: EncoderOutput, atol: float = 0.0) -> None:
    pairs = [(one.mask_features, other.mask_features), *zip(one.multi_scale, other.multi_scale, strict=True)]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=atol)


@torch.no_grad()
def test_exits_of_every_base(base: str, build: Callable[..., EarlyExitEncoder]) -> None:
    assert build(base).exits == EXITS[base]


@torch.no_grad()
def test_a_forced_exit_is_the_encoder_with_so_many_layers_bit_for_bit(
    build: Callable[..., EarlyExitEncoder], specs: Mapping[str, FeatureSpec], pyramid: Pyramid
) -> None:
    maps, early = pyramid(3), build("mask2former")
    for layer in early.exits:
        static = build_encoder("mask2former", specs, **SMALL, layers=layer).eval()
        missing, _ = static.load_state_dict(early.state_dict(), strict=False)
        assert missing == [], "the names are the base's"
        assert_equal(early(maps, exit=layer), static(maps))


@torch.no_grad()
def test_the_deepest_exit_is_the_base_bit_for_bit(
    base: str, build: Callable[..., EarlyExitEncoder], specs: Mapping[str, FeatureSpec], pyramid: Pyramid
) -> None:
    maps, early = pyramid(), build(base)
    static = build_encoder(base, specs, **SMALL, **BASES[base]).eval()
    missing, unexpected = static.load_state_dict(early.state_dict(), strict=False)
    assert missing == [] and set(unexpected) == {
        "transformer.encoder.gt.head.weight",
        "transformer.encoder.gt.head.bias",
    }
    assert_equal(early(maps, exit=early.exits[-1]), static(maps))


@torch.no_grad()
def test_a_lite_encoder_always_ends_with_its_last_layer(
    build: Callable[..., EarlyExitEncoder], specs: Mapping[str, FeatureSpec], pyramid: Pyramid
) -> None:
    maps, early = pyramid(), build("lite")
    static = build_encoder("lite", specs, **SMALL, layers=4).eval()
    weights = early.state_dict()
    last = {name.replace(".layers.5.", ".layers.3."): x for name, x in weights.items() if ".layers.5." in name}
    static.load_state_dict({**weights, **last}, strict=False)
    assert_equal(early(maps, exit=3), static(maps))


@torch.no_grad()
def test_scales_that_no_layer_has_seen_leave_as_they_would_have_entered(
    build: Callable[..., EarlyExitEncoder], pyramid: Pyramid
) -> None:
    maps, early = pyramid(), build("proscale", recalibration="off")
    projected = early.base.project(maps)
    coarse, middle, fine = early(maps, exit=2).multi_scale
    assert not torch.equal(coarse, projected[0])
    assert torch.equal(middle, projected[1]) and torch.equal(fine, projected[2])


@torch.no_grad()
def test_a_batch_of_mixed_exits_gives_each_image_what_it_has_alone(
    base: str, build: Callable[..., EarlyExitEncoder], pyramid: Pyramid
) -> None:
    maps, early = pyramid(6), build(base)
    exits = early.exits
    asked = torch.tensor([exits[1], exits[-1], exits[0], exits[1], exits[-1], exits[2]])
    with layers_run(early) as together:
        mixed = early(maps, exit=asked)
    assert mixed.exit is not None and torch.equal(mixed.exit, asked)
    alone_layers = []
    for i, layer in enumerate(asked.tolist()):
        with layers_run(early) as run:
            alone = early({name: x[i : i + 1] for name, x in maps.items()}, exit=layer)
        alone_layers.append(len(run))
        mine = EncoderOutput(mixed.mask_features[i : i + 1], tuple(x[i : i + 1] for x in mixed.multi_scale))  # type: ignore[arg-type]
        assert_equal(mine, alone, ALONE)
    assert sum(together) == sum(alone_layers), "image for image, a layer runs as often as it would alone"


@torch.no_grad()
def test_equal_exits_are_one_batch(build: Callable[..., EarlyExitEncoder], pyramid: Pyramid) -> None:
    maps, early = pyramid(2), build("mask2former")
    with layers_run(early) as batches:
        left = early(maps, exit=torch.tensor([3, 3]))
    assert batches == [2, 2, 2]
    assert_equal(left, early(maps, exit=3))


@torch.no_grad()
def test_the_gate_decides_for_every_image(base: str, build: Callable[..., EarlyExitEncoder], pyramid: Pyramid) -> None:
    maps, early = pyramid(4), build(base)
    pooled = early.pooled(maps)
    spread = pooled - pooled.mean(0)
    early.gate.weight.copy_(torch.stack([10 * spread[i % 4] for i in range(len(early.exits))]))
    early.gate.bias.copy_(-early.gate.weight @ pooled.mean(0))
    expected = torch.tensor(early.exits)[early.gate(pooled).argmax(1)]
    assert len(set(expected.tolist())) > 1, "the images are told apart"
    gated = early(maps)
    assert gated.exit is not None and torch.equal(gated.exit, expected)
    assert_equal(gated, early(maps, exit=expected))


@torch.no_grad()
def test_the_gate_sees_the_mean_of_projected_res5(build: Callable[..., EarlyExitEncoder], pyramid: Pyramid) -> None:
    maps, early = pyramid(), build("mask2former")
    torch.testing.assert_close(early.pooled(maps), early.base.input_proj[0](maps["res5"]).mean((2, 3)))


@torch.no_grad()
def test_every_exit_from_one_pass_is_what_each_gives_alone(
    base: str, build: Callable[..., EarlyExitEncoder], pyramid: Pyramid
) -> None:
    maps, early = pyramid(), build(base)
    with layers_run(early) as batches:
        outputs = early.every_exit(maps)
    extra = len(early.exits) if base == "lite" else 0  # its last layer ends every path
    depth = early.base.transformer.encoder.depth
    assert len(batches) == depth + extra
    for layer, output in zip(early.exits, outputs, strict=True):
        assert output.exit is not None and output.exit.tolist() == [layer] * 2
        assert_equal(output, early(maps, exit=layer))


@torch.no_grad()
def test_agrees_with_the_released_module(released: ModuleType) -> None:
    theirs = released.load("eco_m2f_exit3")
    features = {f"res{i + 2}": (c, 4 * 2**i) for i, c in enumerate(theirs.config["in_channels"])}
    early = build_encoder(
        "early_exit", features, dim=theirs.config["conv_dim"], mask_dim=theirs.config["mask_dim"], layers=6
    )
    assert released.shapes_of(early) == theirs.parameters
    released.set_weights(early)
    assert isinstance(early, EarlyExitEncoder)
    early.gate.bias[early.exits.index(3)] += 100  # as the release was made to leave there
    output = early.eval()({name: released.draw(f"input.{name}", shape) for name, shape in theirs.inputs.items()})
    assert output.exit is not None and output.exit.tolist() == [3] * len(output.exit)
    torch.testing.assert_close(output.mask_features[:1], theirs.outputs["mask_features"], rtol=0, atol=1e-5)
    for i, x in enumerate(output.multi_scale):
        torch.testing.assert_close(x, theirs.outputs[f"multi_scale.{i}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [4, 5, 6])
def test_k_leaves_later_exits_out(k: int, build: Callable[..., EarlyExitEncoder]) -> None:
    early = build("mask2former", k=k)
    assert early.exits == tuple(range(2, k + 1))
    assert early.gate.out_features == len(early.exits)


def test_it_takes_the_settings_of_its_base() -> None:
    own = {"base", "exits", "k"}
    for base in BASES:
        assert setting_defaults("early_exit", {"base": base}).keys() == own | setting_defaults(base).keys()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"base": "fpn"}, "base='fpn' has no layers that could be left; expected one of lite, mask2former, proscale"),
        ({"base": "mask3former"}, "no encoder is called 'mask3former'; did you mean mask2former"),
        ({"exits": (2, 7)}, r"exits=\(2, 7\) of mask2former, expected a tuple of ascending layers from 1 to 6"),
        ({"exits": (3, 2)}, r"exits=\(3, 2\) of mask2former, expected a tuple of ascending"),
        ({"exits": (0, 2)}, r"exits=\(0, 2\) of mask2former, expected a tuple of ascending"),
        ({"exits": "23"}, "exits='23' of mask2former, expected a tuple"),
        ({"base": "lite", "exits": (2, 6)}, r"of lite, expected a tuple of ascending layers from 1 to 5"),
        ({"k": 1}, "k=1, expected a layer from the first exit 2 to 6, or 0 for all"),
        ({"k": 7}, "k=7, expected a layer from the first exit 2 to 6, or 0 for all"),
        ({"layers": 1}, r"exits=\(\) of mask2former, expected a tuple of ascending layers from 1 to 1"),
        ({"exits": None}, "exits=None of mask2former, expected a tuple"),
        ({"p": (1, 1, 1)}, "early_exit has no setting 'p'"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str, specs: Mapping[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match=says):
        build_encoder("early_exit", specs, **settings)


@pytest.mark.parametrize(
    ("exit", "says"),
    [
        (1, "exit 1; expected one of 2, 3, 4, 5, 6"),
        (torch.tensor([2, 7]), "exit 7; expected one of"),
        (torch.tensor([2]), r"exit of shape \(1,\) and torch.int64; expected \(2,\) integers"),
        (torch.tensor([2.0, 3.0]), "torch.float32; expected"),
        (2.0, "exit=2.0; expected a layer"),
    ],
)
def test_a_bad_exit_is_refused(exit: Any, says: str, build: Callable[..., EarlyExitEncoder], pyramid: Pyramid) -> None:
    with pytest.raises(ValueError, match=says):
        build("mask2former")(pyramid(), exit=exit)


def test_weights_of_the_base_load_by_name(
    build: Callable[..., EarlyExitEncoder], specs: Mapping[str, FeatureSpec]
) -> None:
    early = build("mask2former")
    base: Encoder = build_encoder("mask2former", specs, **SMALL, layers=6)
    missing, unexpected = early.load_state_dict(base.state_dict(), strict=False)
    assert unexpected == [] and all(".gt.head." in name for name in missing)


def test_its_sources_are_its_own_and_its_bases() -> None:
    assert EarlyExitEncoder.source_modules({}) == ["effbench.encoders.early_exit", "effbench.encoders.mask2former"]
    assert EarlyExitEncoder.source_modules({"base": "lite"})[1] == "effbench.encoders.lite"


def test_images_that_leave_apart_pass_their_gradients_on(
    build: Callable[..., EarlyExitEncoder], pyramid: Pyramid
) -> None:
    maps, early = pyramid(3), build("mask2former")
    asked = torch.tensor([2, 6, 3])
    for x in maps.values():
        x.requires_grad_()
    mixed = early(maps, exit=asked)
    (mixed.multi_scale[2] ** 2).sum().backward()
    for i, layer in enumerate(asked.tolist()):
        alone = {name: x[i : i + 1].detach().clone().requires_grad_() for name, x in maps.items()}
        (early(alone, exit=layer).multi_scale[2] ** 2).sum().backward()
        for name in ("res3", "res4", "res5"):
            torch.testing.assert_close(maps[name].grad[i : i + 1], alone[name].grad, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
def test_the_host_waits_once_for_a_batch(base: str, build: Callable[..., EarlyExitEncoder], pyramid: Pyramid) -> None:
    encoder = disturbed(build(base=base)).cuda().eval()
    features = {name: x.cuda() for name, x in pyramid(batch=4).items()}
    with torch.inference_mode():
        encoder(features)  # what is made once, constants and the libraries' handles, is made now
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as waits:
                warnings.simplefilter("always")
                encoder(features)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in waits if "synchroniz" in str(one.message)]) == 1

"""The deformable layer's parts: what tokens mean, and how the attention starts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from effbench.encoders.deformable import (
    DeformableLayer,
    MSDeformAttn,
    flatten,
    layer_copies,
    positions,
    reference_points,
    reset_transformer,
    unflatten,
)
from effbench.encoders.layers import sine_position
from effbench.encoders.mask2former import DeformableTransformer
from effbench.encoders.registry import build_encoder
from effbench.encoders.stack import LayerStack

SHAPES = [(1, 2), (3, 4)]


def attention(heads: int = 8, levels: int = 2, points: int = 3) -> MSDeformAttn:
    module = MSDeformAttn(32, levels, heads, points, "auto")
    module.reset_parameters()
    return module


def test_flatten_is_row_major_and_unflatten_undoes_it() -> None:
    maps = [torch.randn(2, 5, h, w) for h, w in SHAPES]
    tokens = flatten(maps)
    assert torch.equal(tokens[1][0, 1 * 4 + 2], maps[1][0, :, 1, 2])
    back = unflatten(torch.cat(tokens, dim=1), SHAPES)
    assert all(torch.equal(a, b) for a, b in zip(back, maps, strict=True))


def test_reference_points_are_the_centres_as_x_then_y() -> None:
    points = reference_points(SHAPES, like=torch.zeros(1, dtype=torch.float64))
    assert points.dtype == torch.float64
    assert points[:2].tolist() == [[0.25, 0.5], [0.75, 0.5]]
    torch.testing.assert_close(points[2 + 1 * 4 + 3], torch.tensor([3.5 / 4, 1.5 / 3], dtype=torch.float64))
    assert points.shape == (2 + 12, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reference_points_name_every_pixel_beside_16_bit_tokens(dtype: torch.dtype) -> None:
    points = reference_points([(1, 512)], like=torch.zeros(1, dtype=dtype))
    assert points.dtype == torch.float32
    assert torch.equal(points[:, 0] * 512 - 0.5, torch.arange(512, dtype=torch.float32))


def test_positions_add_the_levels_own_embedding() -> None:
    embed = torch.randn(2, 8)
    position = positions(SHAPES, embed)
    fine = sine_position(3, 4, 8, embed.device)
    torch.testing.assert_close(position[2 + 1 * 4 + 3], fine[:, 1, 3] + embed[1])
    torch.testing.assert_close(position[1], sine_position(1, 2, 8, embed.device)[:, 0, 1] + embed[0])


def test_eight_heads_start_in_eight_directions_at_one_two_three_pixels() -> None:
    offsets = attention().sampling_offsets.bias.detach().view(8, 2, 3, 2)
    compass = torch.tensor([[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]], dtype=torch.float32)
    for level in range(2):
        for point in range(3):
            torch.testing.assert_close(offsets[:, level, point], (point + 1) * compass, rtol=0, atol=1e-5)


def test_attention_starts_uniform_whatever_the_query() -> None:
    module = attention()
    assert not module.sampling_offsets.weight.any()
    assert not module.attention_weights.weight.any() and not module.attention_weights.bias.any()
    assert not module.value_proj.bias.any() and not module.output_proj.bias.any()


def test_attention_averages_what_it_samples() -> None:
    """Without offsets every point reads the query's own place, and a constant map gives its constant."""
    module = attention(heads=4, levels=2, points=1).double()
    with torch.no_grad():
        module.sampling_offsets.bias.zero_()
        for projection in (module.value_proj, module.output_proj):
            projection.weight.copy_(torch.eye(32))
    coarse, fine = torch.randn(2, 32, dtype=torch.float64)
    tokens = torch.cat((coarse.expand(2, -1), fine.expand(12, -1)))[None]
    # the middle of both maps: no sample reaches over a border
    output = module(torch.randn(1, 1, 32).double(), torch.tensor([[0.5, 0.5]]).double(), tokens, SHAPES)
    torch.testing.assert_close(output[0, 0], (coarse + fine) / 2)


def test_offsets_are_pixels_of_the_level_they_look_at() -> None:
    module = attention(heads=1, levels=1, points=1).double()
    with torch.no_grad():
        module.sampling_offsets.bias.copy_(torch.tensor([2.0, -1.0]))  # x, y
        for projection in (module.value_proj, module.output_proj):
            projection.weight.copy_(torch.eye(32))
    tokens = torch.randn(1, 12, 32, dtype=torch.float64)
    reference = reference_points([(3, 4)], tokens)[[1 * 4 + 0]]
    output = module(tokens[:, [4]], reference, tokens, [(3, 4)])
    torch.testing.assert_close(output[0, 0], tokens[0, 0 * 4 + 2])


def test_position_moves_where_a_layer_looks_but_not_what_it_reads() -> None:
    layer = DeformableLayer(32, 2, 4, 2, 16, "auto")
    layer.self_attn.reset_parameters()
    x, reference = torch.randn(1, 14, 32), reference_points(SHAPES, torch.zeros(1))
    still = layer(x, torch.zeros(14, 32), reference, SHAPES)
    moved = torch.randn(14, 32)
    assert torch.equal(layer(x, moved, reference, SHAPES), still), "at the start no offset depends on the query"
    torch.nn.init.normal_(layer.self_attn.sampling_offsets.weight)
    assert not torch.allclose(layer(x, moved, reference, SHAPES), layer(x, torch.zeros(14, 32), reference, SHAPES))


class Operators(TorchDispatchMode):
    """Names of all operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_attention_is_four_products_and_one_operator() -> None:
    """No tensor is made from numbers of the host, and none is asked for its value: on a GPU either would wait."""
    module, tokens, reference = attention(), torch.randn(2, 14, 32), reference_points(SHAPES, torch.zeros(1))
    with torch.no_grad(), Operators() as ran:
        module(tokens, reference, tokens, SHAPES)
    free = {"aten.view.default", "aten._unsafe_view.default", "aten.t.default", "aten.transpose.int"}
    assert sorted(name for name in ran.names if name not in free) == [
        *["aten.addmm.default"] * 4,
        "effbench.ms_deform_attn_fused.default",
    ]


def test_records_learn_what_serves_the_modules_dtype() -> None:
    assert attention().resolved_implementation() == {"ms_deform_attn": "cpu"}
    assert attention().double().resolved_implementation() == {"ms_deform_attn": "reference"}
    assert attention().to("meta").resolved_implementation() == {"ms_deform_attn": "reference"}


def test_an_implementation_that_cannot_serve_is_refused_and_not_replaced() -> None:
    module = attention()
    module.impl = "cpu"
    double = module.double()
    tokens = torch.randn(1, 14, 32, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"impl='cpu'.*float64"):
        double(tokens, reference_points(SHAPES, tokens), tokens, SHAPES)
    with pytest.raises(ValueError, match=r"impl='cpu'.*float64"):
        double.resolved_implementation()


@torch.no_grad()
@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_six_layers_in_float32_agree_with_the_released_module(impl: str, released: ModuleType) -> None:
    """The fixture's own test runs in float64, which not every implementation serves."""
    theirs = released.load("m2f_pixel_decoder_6layers")
    features = {f"res{i + 2}": (c, 4 * 2**i) for i, c in enumerate(theirs.config["in_channels"])}
    dims = {"dim": theirs.config["conv_dim"], "mask_dim": theirs.config["mask_dim"]}
    encoder = released.set_weights(build_encoder("mask2former", features, **dims, impl=impl)).float()
    output = encoder({name: released.draw(f"input.{name}", shape).float() for name, shape in theirs.inputs.items()})
    assert encoder.implementation() == {"ms_deform_attn": impl}
    for i, x in enumerate(output.multi_scale):
        torch.testing.assert_close(x.double(), theirs.outputs[f"multi_scale.{i}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_16_bit_tokens_keep_float32_reference_points(impl: str) -> None:
    module = attention()
    module.impl = impl
    tokens = torch.randn(1, 14, 32)
    reference = reference_points(SHAPES, tokens)
    exact = module(tokens, reference, tokens, SHAPES)
    half = module.bfloat16()(tokens.bfloat16(), reference, tokens.bfloat16(), SHAPES)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05)


def test_layers_start_with_equal_biases_and_matrices_of_their_own() -> None:
    stack = LayerStack(layer_copies(DeformableLayer(32, 3, 4, 2, 16, "auto"), 2))
    DeformableTransformer(32, stack)
    first, second = stack.layers
    assert torch.equal(first.linear1.bias, second.linear1.bias) and first.linear1.bias.any()
    assert first.linear1.bias is not second.linear1.bias
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_reset_is_xavier_on_matrices_and_normal_on_the_level_embedding() -> None:
    transformer = DeformableTransformer(64, LayerStack(layer_copies(DeformableLayer(64, 3, 4, 2, 256, "auto"), 1)))
    reset_transformer(transformer)
    weight = transformer.encoder.layers[0].linear1.weight
    bound = (6 / (64 + 256)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert 0.8 < transformer.level_embed.std() < 1.2


def test_sums_have_all_their_bits_under_autocast() -> None:
    """What a layer normalises is the sum in float32, though its projections are in 16 bits."""
    layer, sums = DeformableLayer(32, 2, 4, 2, 64, "auto"), []
    for norm in (layer.norm1, layer.norm2):
        norm.register_forward_pre_hook(lambda _, arguments: sums.append(arguments[0]))
    x, reference = torch.randn(1, 14, 32), reference_points(SHAPES, torch.zeros(1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, torch.zeros(14, 32), reference, SHAPES)
    assert [x.dtype for x in sums] == [torch.float32, torch.float32]
    assert not torch.equal(sums[0], sums[0].bfloat16().float())

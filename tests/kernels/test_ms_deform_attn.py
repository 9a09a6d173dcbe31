"""The operator's definition against loops and autograd, and its registration with PyTorch."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS, costs, ms_deform_attn, resolve_implementation

SHAPES = ((5, 4), (3, 2))


class Problem(NamedTuple):
    """Arguments of the operator, in its order."""

    value: Tensor
    shapes: tuple[tuple[int, int], ...]
    locations: Tensor
    weights: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.value, self.locations, self.weights

    def replace(self, value: Tensor, locations: Tensor, weights: Tensor) -> Problem:
        return Problem(value, self.shapes, locations, weights)

    def map(self, change: Callable[[Tensor], Tensor]) -> Problem:
        return self.replace(*map(change, self.tensors()))

    def leaves(self) -> Problem:
        return self.map(lambda t: t.detach().clone().requires_grad_())

    def gradients(self) -> tuple[Tensor, ...]:
        return tuple(t.grad for t in self.tensors() if t.grad is not None)

    def flat(self) -> tuple[Any, ...]:
        """Arguments of the registered operator."""
        return (
            self.value,
            [side for shape in self.shapes for side in shape],
            self.locations,
            self.weights,
            "reference",
        )


def problem(
    B: int = 2,
    Q: int = 3,
    M: int = 2,
    P: int = 2,
    D: int = 4,
    shapes: tuple[tuple[int, int], ...] = SHAPES,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Random arguments, some samples outside; none within 0.05 pixel of a line where the gradient jumps."""
    L = len(shapes)
    size = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float64)[:, None]  # (L, 1, 2)
    cell = (torch.rand(B, Q, M, L, P, 2, dtype=torch.float64) * (size + 2)).floor() - 2  # -2 .. side - 1
    pixel = cell + 0.05 + 0.9 * torch.rand(cell.shape, dtype=torch.float64)
    value = torch.randn(B, sum(h * w for h, w in shapes), M, D, dtype=torch.float64)
    weights = torch.randn(B, Q, M, L, P, dtype=torch.float64)
    return Problem(value, shapes, (pixel + 0.5) / size, weights).map(lambda t: t.to(dtype))


def by_loops(given: Problem) -> Tensor:
    """The definition, one multiply at a time."""
    B, Q, M, L, P, _ = given.locations.shape
    D = given.value.shape[3]
    value, locations, weights = (t.tolist() for t in given.tensors())
    output = torch.zeros(B, Q, M * D, dtype=torch.float64)
    for b, q, m, level, p in itertools.product(*map(range, (B, Q, M, L, P))):
        height, width = given.shapes[level]
        start = sum(h * w for h, w in given.shapes[:level])
        x = locations[b][q][m][level][p][0] * width - 0.5
        y = locations[b][q][m][level][p][1] * height - 0.5
        for row, column in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
            if not (0 <= row < height and 0 <= column < width):
                continue
            share = (1 - abs(x - column)) * (1 - abs(y - row)) * weights[b][q][m][level][p]
            for d in range(D):
                output[b, q, m * D + d] += share * value[b][start + row * width + column][m][d]
    return output


def by_grid_sample(given: Problem) -> Tensor:
    """The composition of PyTorch functions that Deformable DETR's release offers beside its kernel."""
    B, _, M, D = given.value.shape
    Q = given.locations.shape[1]
    sampled = []
    maps = given.value.split([h * w for h, w in given.shapes], dim=1)
    for level, (height, width) in enumerate(given.shapes):
        image = maps[level].permute(0, 2, 3, 1).reshape(B * M, D, height, width)
        grid = 2 * given.locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        sampled.append(F.grid_sample(image, grid, padding_mode="zeros", align_corners=False))
    weights = given.weights.transpose(1, 2).reshape(B * M, 1, Q, -1)
    return (torch.cat(sampled, -1) * weights).sum(-1).view(B, M * D, Q).transpose(1, 2)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"B": 1, "Q": 1, "M": 1, "P": 1, "D": 1},
        {"M": 3, "P": 3, "D": 5},
        {"shapes": ((1, 1),)},
        {"shapes": ((1, 6), (6, 1), (2, 2)), "Q": 7},
        {"shapes": ((2, 3), (1, 1), (3, 2), (4, 4), (1, 2)), "P": 1},
    ],
    ids=str,
)
def test_output_is_the_definition(sizes: dict[str, Any]) -> None:
    given = problem(**sizes)
    torch.testing.assert_close(ms_deform_attn(*given), by_loops(given), rtol=0, atol=1e-13)


def test_a_pixel_centre_returns_the_pixel() -> None:
    height, width = 3, 4
    value = torch.randn(1, height * width, 1, 2, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    centres = torch.stack(((x + 0.5) / width, (y + 0.5) / height), dim=-1)
    locations = centres.view(1, -1, 1, 1, 1, 2)
    output = ms_deform_attn(value, ((height, width),), locations, torch.ones(locations.shape[:-1]).double())
    torch.testing.assert_close(output, value[:, :, 0], rtol=0, atol=1e-14)


def test_float32_is_as_close_as_float32_can_be() -> None:
    given = problem(Q=50, shapes=((16, 24), (8, 12)), D=16)
    rounded = given.map(lambda t: t.float())
    output = ms_deform_attn(*rounded)
    exact = ms_deform_attn(*rounded.map(lambda t: t.double()))
    assert output.dtype == torch.float32
    error = (output - exact).abs().max() / exact.square().mean().sqrt()
    assert error < 2e-5, "float32 sampling is off by more than rounding"
    assert error > 0, "the comparison ran in one precision"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_and_output_keep_the_dtype(dtype: torch.dtype) -> None:
    given = problem(dtype=dtype).leaves()
    output = ms_deform_attn(*given)
    output.sum().backward()
    assert [t.dtype for t in (output, *given.gradients())] == 4 * [dtype]


SIXTEEN_BITS = (torch.bfloat16, torch.float16)


def wide(value: torch.dtype, locations: torch.dtype, weights: torch.dtype) -> Problem:
    """On a map of 512 columns, 16-bit locations are off by a pixel and more."""
    given = problem(Q=50, D=16, shapes=((8, 512), (4, 256)))
    return given.replace(given.value.to(value), given.locations.to(locations), given.weights.to(weights))


@pytest.mark.parametrize("weights", ["value's dtype", "float32"])
@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
def test_float32_locations_are_exact_beside_a_16_bit_value(dtype: torch.dtype, weights: str) -> None:
    given = wide(dtype, torch.float32, torch.float32 if weights == "float32" else dtype).leaves()
    exact = given.map(lambda t: t.detach().double()).leaves()
    output, expected = ms_deform_attn(*given), ms_deform_attn(*exact)
    rounding = 2 * torch.finfo(dtype).eps
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), expected, rtol=rounding, atol=1e-5)

    upstream = torch.randn_like(output)
    output.backward(upstream)
    expected.backward(upstream.double())
    for name, ours, theirs in zip(("value", "locations", "weights"), given.tensors(), exact.tensors(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert ours.grad.dtype == ours.dtype
        scale = theirs.grad.square().mean().sqrt()
        error = ((ours.grad - theirs.grad).abs() / (theirs.grad.abs() + scale)).max()
        assert error < rounding, name

    coarse = given.replace(given.value, given.locations.to(dtype), given.weights.to(dtype))
    missed = (ms_deform_attn(*coarse) - expected).abs().max()
    assert missed > 20 * (output - expected).abs().max(), "which 16-bit locations are not"


def test_float32_locations_beside_a_float64_value() -> None:
    given = wide(torch.float64, torch.float32, torch.float32)
    output = ms_deform_attn(*given)
    assert output.dtype == torch.float64
    torch.testing.assert_close(output, ms_deform_attn(*given.map(lambda t: t.double())), rtol=0, atol=0)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("sizes", [{}, {"Q": 0}], ids=str)
def test_the_output_has_the_values_dtype(sizes: dict[str, int], device: str) -> None:
    given = problem(**sizes, dtype=torch.float32).map(lambda t: t.to(device))
    output = ms_deform_attn(given.value.bfloat16(), *given[1:])
    assert (output.dtype, output.device.type) == (torch.bfloat16, device)


def test_gradcheck() -> None:
    given = problem().leaves()
    assert torch.autograd.gradcheck(lambda *t: ms_deform_attn(*given.replace(*t)), given.tensors(), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("sizes", [{}, {"M": 3, "P": 3, "D": 5}, {"shapes": ((1, 6), (6, 1), (2, 2)), "Q": 7}], ids=str)
def test_gradients_are_those_of_autograd_through_grid_sample(sizes: dict[str, Any]) -> None:
    ours = problem(**sizes).leaves()
    theirs = ours.leaves()
    upstream = torch.randn_like(by_grid_sample(theirs))
    ms_deform_attn(*ours).backward(upstream)
    by_grid_sample(theirs).backward(upstream)
    for name, a, b in zip(("value", "locations", "weights"), ours.tensors(), theirs.tensors(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12, msg=lambda m, n=name: f"gradient of {n}: {m}")


def test_second_derivatives_are_refused_not_wrong() -> None:
    given = problem().leaves()
    (first,) = torch.autograd.grad(ms_deform_attn(*given).sum(), given.weights, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        first.sum().backward()


@pytest.mark.parametrize(
    "check", ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
)
def test_opcheck(check: str) -> None:
    result = torch.library.opcheck(torch.ops.effbench.ms_deform_attn, problem().leaves().flat(), test_utils=check)
    assert result == {check: "SUCCESS"}


@pytest.mark.parametrize("check", ["test_schema", "test_faketensor"])
def test_opcheck_of_the_backward(check: str) -> None:
    given = problem()
    grad = torch.randn(2, 3, 8, dtype=torch.float64)
    operator = torch.ops.effbench.ms_deform_attn_backward
    assert torch.library.opcheck(operator, (grad, *given.flat()), test_utils=check) == {check: "SUCCESS"}


@pytest.mark.parametrize("check", ["test_schema", "test_autograd_registration", "test_faketensor"])
def test_opcheck_of_mixed_dtypes(check: str) -> None:
    given = problem(dtype=torch.float32)
    mixed = given._replace(value=given.value.bfloat16()).leaves()
    result = torch.library.opcheck(torch.ops.effbench.ms_deform_attn, mixed.flat(), test_utils=check)
    assert result == {check: "SUCCESS"}


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_whole_equals_eager() -> None:
    compiled = torch.compile(ms_deform_attn, backend="aot_eager", fullgraph=True)
    for Q in (3, 5):  # the second size traces symbolic shapes
        eager = problem(Q=Q).leaves()
        traced = eager.leaves()
        expected, output = ms_deform_attn(*eager), compiled(*traced)
        assert torch.equal(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
        for a, b in zip(traced.gradients(), eager.gradients(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_flop_counter_sees_the_operator(device: str) -> None:
    B, Q, M, P, D, L = 2, 7, 3, 4, 5, len(SHAPES)
    given = problem(B, Q, M, P, D).map(lambda t: t.to(device)).leaves()
    with FlopCounterMode(display=False) as counter:
        output = ms_deform_attn(*given)
        assert counter.get_total_flops() == 2 * 5 * B * Q * M * L * P * D
        output.backward(torch.ones_like(output))
    forward, backward = (c((B, Q, M, L, P, 2), D) for c in (costs.forward_macs, costs.backward_macs))
    assert counter.get_total_flops() == 2 * (forward + backward)


def test_meta_tensors_give_the_shape() -> None:
    given = problem()
    real, meta = ms_deform_attn(*given), ms_deform_attn(*given.map(lambda t: t.to("meta")))
    assert meta.device.type == "meta"
    assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())


def test_an_image_gives_the_same_bits_alone_and_in_a_batch() -> None:
    given = problem(B=3, Q=37, shapes=((16, 24), (8, 12)), D=8, dtype=torch.float32)
    together = ms_deform_attn(*given)
    for i in range(3):
        assert torch.equal(ms_deform_attn(*given.map(lambda t, i=i: t[i : i + 1]))[0], together[i])


def test_permuted_queries_permute_the_output_bit_for_bit() -> None:
    given = problem(Q=37, shapes=((16, 24), (8, 12)), D=8, dtype=torch.float32)
    order = torch.randperm(37)
    permuted = ms_deform_attn(given.value, given.shapes, given.locations[:, order], given.weights[:, order])
    assert torch.equal(permuted, ms_deform_attn(*given)[:, order])


@pytest.mark.parametrize("place", [-1.0, 2.0, 1e30, -1e30])
def test_everything_outside_is_exactly_nothing(place: float) -> None:
    given = problem()
    outside = given.replace(given.value, torch.full_like(given.locations, place), given.weights).leaves()
    output = ms_deform_attn(*outside)
    output.sum().backward()
    assert len(outside.gradients()) == 3
    for tensor in (output, *outside.gradients()):
        assert torch.count_nonzero(tensor) == 0


@pytest.mark.parametrize("sizes", [{"Q": 0}, {"B": 0}, {"B": 0, "Q": 0}], ids=str)
def test_nothing_asked_nothing_returned(sizes: dict[str, int]) -> None:
    given = problem(**sizes).leaves()
    output = ms_deform_attn(*given)
    output.sum().backward()
    assert output.shape == (given.value.shape[0], given.locations.shape[1], 8)
    assert [g.shape for g in given.gradients()] == [t.shape for t in given.tensors()]
    assert not any(g.any() for g in given.gradients())


def test_layout_does_not_matter() -> None:
    given = problem().leaves()
    strided = given.map(lambda t: t.detach().movedim(0, -1).contiguous().movedim(-1, 0).requires_grad_())
    assert not any(t.is_contiguous() for t in strided.tensors())
    upstream = torch.randn(8, 3, 2, dtype=torch.float64).permute(2, 1, 0)
    ms_deform_attn(*given).backward(upstream.contiguous())
    ms_deform_attn(*strided).backward(upstream)
    assert torch.equal(ms_deform_attn(*strided), ms_deform_attn(*given))
    for a, b in zip(strided.gradients(), given.gradients(), strict=True):
        assert torch.equal(a, b)


def test_expanded_inputs() -> None:
    one = problem(B=1)
    expanded = one.map(lambda t: t.expand(3, *t.shape[1:]))
    assert torch.equal(ms_deform_attn(*expanded), ms_deform_attn(*one).expand(3, -1, -1))


def test_auto_names_what_runs() -> None:
    given = problem()
    assert resolve_implementation("auto", torch.device("cpu")) == "reference"
    assert "auto" not in IMPLEMENTATIONS
    assert torch.equal(ms_deform_attn(*given, impl="reference"), ms_deform_attn(*given))


BAD: dict[str, tuple[Callable[[Problem], Problem], tuple[str, ...]]] = {
    "value without heads": (
        lambda g: g._replace(value=g.value.flatten(2)),
        ("value", "(2, 26, 8)", "(B, S, M, D)"),
    ),
    "areas": (
        lambda g: g._replace(shapes=((5, 4), (3, 3))),
        ("spatial_shapes", "29 tokens", "S=26", "sum to S"),
    ),
    "level of no area": (
        lambda g: g._replace(shapes=((13, 2), (0, 2))),
        ("spatial_shapes", "(0, 2)", "positive"),
    ),
    "negative sides": (
        lambda g: g._replace(shapes=((5, 4), (-3, -2))),
        ("spatial_shapes", "(-3, -2)", "positive"),
    ),
    "missing level": (
        lambda g: g._replace(shapes=((13, 2),)),
        ("sampling_locations", "(2, 3, 2, 2, 2, 2)", "L=1"),
    ),
    "other batch": (
        lambda g: g._replace(locations=g.locations[:1]),
        ("sampling_locations", "(1, 3, 2", "B=2"),
    ),
    "other heads": (lambda g: g._replace(locations=g.locations[:, :, :1]), ("sampling_locations", "M=2")),
    "no coordinates": (lambda g: g._replace(locations=g.locations[..., 0]), ("sampling_locations", "P, 2)")),
    "three coordinates": (
        lambda g: g._replace(locations=g.locations[..., [0, 1, 0]]),
        ("sampling_locations", "P, 2)"),
    ),
    "points of the weights": (
        lambda g: g._replace(weights=g.weights[..., :1]),
        ("attention_weights", "(2, 3, 2, 2, 1)", "expected (2, 3, 2, 2, 2)"),
    ),
    "locations of fewer bits than the value": (
        lambda g: g._replace(locations=g.locations.bfloat16()),
        ("torch.float64, torch.bfloat16, torch.float64", "in its dtype or in float32"),
    ),
    "weights of fewer bits than the value": (
        lambda g: g._replace(value=g.value.float(), locations=g.locations.float(), weights=g.weights.half()),
        ("torch.float32, torch.float32, torch.float16", "in its dtype or in float32"),
    ),
    "two kinds of 16 bits": (
        lambda g: g.replace(g.value.half(), g.locations.bfloat16(), g.weights.half()),
        ("torch.float16, torch.bfloat16, torch.float16", "in its dtype or in float32"),
    ),
    "locations wider than float32 beside 16 bits": (
        lambda g: g._replace(value=g.value.half()),
        ("torch.float16, torch.float64, torch.float64", "in its dtype or in float32"),
    ),
    "integers": (lambda g: g.map(lambda t: t.long()), ("torch.int64", "floating")),
    "mixed devices": (lambda g: g._replace(weights=g.weights.to("meta")), ("cpu, cpu, meta", "one device")),
}


@pytest.mark.parametrize(("damage", "said"), BAD.values(), ids=BAD)
def test_arguments_that_do_not_fit(damage: Callable[[Problem], Problem], said: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(said[0])) as raised:
        ms_deform_attn(*damage(problem()))
    assert [part for part in said[1:] if part not in str(raised.value)] == [], str(raised.value)


def test_unknown_implementation() -> None:
    with pytest.raises(ValueError, match=r"impl='cuda'.*expected 'auto' or one of \('reference'"):
        ms_deform_attn(*problem(), impl="cuda")


def test_the_registered_operator_runs_what_it_is_told_or_nothing() -> None:
    """Whoever calls it without `resolve_implementation` gets no substitute."""
    arguments = problem().flat()[:-1]
    operators = torch.ops.effbench
    with pytest.raises(KeyError, match="nonsense"):
        operators.ms_deform_attn(*arguments, "nonsense")
    with pytest.raises(KeyError, match="nonsense"):
        operators.ms_deform_attn_backward(torch.randn(2, 3, 8, dtype=torch.float64), *arguments, "nonsense")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_location_that_is_not_finite_contributes_nothing(bad: float) -> None:
    value = torch.randn(1, 6, 1, 2, dtype=torch.float64, requires_grad=True)
    locations = torch.rand(1, 3, 1, 1, 2, 2, dtype=torch.float64)
    weights = torch.rand(1, 3, 1, 1, 2, dtype=torch.float64)
    spoilt, silent = locations.clone(), weights.clone()
    spoilt[0, 1, 0, 0, 1, 0] = bad
    silent[0, 1, 0, 0, 1] = 0
    spoilt.requires_grad_()
    output = ms_deform_attn(value, [(2, 3)], spoilt, weights)
    torch.testing.assert_close(output, ms_deform_attn(value, [(2, 3)], locations, silent))
    output.sum().backward()
    assert value.grad is not None and value.grad.isfinite().all()
    assert spoilt.grad is not None and spoilt.grad.isfinite().all()

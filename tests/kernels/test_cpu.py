"""The embedding-bag implementation against the definition in float64, and what it promises about its bits."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import cpu
from effbench.kernels.ms_deform_attn.cpu_rows import rows_of

Make = Callable[..., Any]
both = pytest.mark.parametrize("fused", [False, True], ids=["core", "fused"])
SOME = {"B": 3, "Q": 37, "M": 3, "P": 3, "D": 8, "shapes": ((9, 13), (1, 5), (4, 7)), "dtype": torch.float32}


def error(ours: Tensor, exact: Tensor) -> float:
    """Largest difference, as a share of the exact one's root mean square."""
    scale = exact.square().mean().sqrt().clamp_min(1e-3)
    return ((ours.double() - exact).abs().max() / scale).item() if exact.numel() else 0.0


def same(call: Any, other: Any, impl: str = "cpu") -> bool:
    """Whether two calls give the same bits, forward and backward."""
    results = [(c(impl), *c.gradients(impl)) for c in (call, other)]
    return all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def drawn(seed: int) -> dict[str, Any]:
    """Sizes of a call; every fifth has nothing in it, or is in 16 bits."""
    choose = random.Random(seed)
    shapes = tuple((choose.randint(1, 9), choose.randint(1, 9)) for _ in range(choose.randint(1, 5)))
    return {
        "B": choose.choice([0, 1, 2, 3]) if seed % 5 == 0 else choose.randint(1, 3),
        "Q": choose.choice([0, 1, 31, 32, 33]),
        "M": choose.choice([1, 2, 3, 8]),
        "P": choose.randint(1, 8),
        "D": choose.choice([1, 8, 16, 24, 32, 33, 48]),
        "shapes": shapes,
        "dtype": choose.choice([torch.bfloat16, torch.float16]) if seed % 5 == 1 else torch.float32,
        "reference": choose.choice(["Q", "BQ", "BQL"]),
    }


# Inputs are rounded first, so this is the error of the computation: its own, and that of rounding the results.
TOLERANCE = {torch.float32: (2e-5, 1e-4), torch.float16: (4e-3, 1e-2), torch.bfloat16: (3e-2, 8e-2)}


@pytest.mark.parametrize("seed", range(100))
def test_any_sizes(seed: int, make: Make) -> None:
    call = make(seed % 2 == 1, **drawn(seed))
    exact = call.map(lambda t: t.double())
    upstream = torch.randn_like(call.value[:, :0].new_empty(call("cpu").shape))
    output, gradient = TOLERANCE[call.value.dtype]
    assert call("cpu").dtype == call.value.dtype
    assert error(call("cpu"), exact("reference")) < output
    for number, (ours, expected) in enumerate(
        zip(call.gradients("cpu", upstream), exact.gradients("reference", upstream.double()), strict=True)
    ):
        assert error(ours, expected) < gradient, f"argument {number}"


@both
def test_float32_is_as_close_as_float32_can_be(fused: bool, make: Make) -> None:
    """Nearly all of the error is that of a pixel's number, which the reference rounds as often."""
    call = make(fused, Q=200, M=8, P=4, D=32, shapes=((8, 12), (16, 24), (32, 48)), dtype=torch.float32)
    exact = call.map(lambda t: t.double())
    ours, theirs, expected = (
        (c(impl), *c.gradients(impl)) for c, impl in ((call, "cpu"), (call, "reference"), (exact, "reference"))
    )
    for number, (a, b, e) in enumerate(zip(ours, theirs, expected, strict=True)):
        assert 0 < error(a, e) < min(2 * error(b, e), 2e-4), f"result {number}"


@both
def test_how_much_is_worked_on_at_once_changes_no_bit(fused: bool, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    call = make(fused, **SOME)
    whole = (call("cpu"), *call.gradients("cpu"))
    samples = 3 * 3 * 3
    for chunk, group in ((samples * 5, 1), (1, 10**9), (samples * 37, samples * 37 * 2)):
        monkeypatch.setattr(cpu, "CHUNK", chunk)
        monkeypatch.setattr(cpu, "GROUP", group)
        for a, b in zip((call("cpu"), *call.gradients("cpu")), whole, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@both
def test_few_queries_give_the_bits_that_many_would(
    fused: bool, dtype: torch.dtype, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels that no sample touches are left out, some corners lie outside, and images keep apart."""
    call = make(fused, B=3, Q=2, M=2, D=8, shapes=((3, 4), (1, 2), (5, 7)), dtype=dtype)
    found = []
    for few in (0.0, float("inf")):
        monkeypatch.setattr(cpu, "FEW", few)
        found.append(call.gradients("cpu"))
    assert all(torch.equal(many, few) for many, few in zip(*found, strict=True))
    assert found[0][0].dtype == dtype and (found[0][0] == 0).any() and (found[0][0] != 0).any()


@pytest.mark.parametrize("few", [0.0, float("inf")])
def test_a_gradient_that_is_no_number_stays_where_its_samples_are(few: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside, a sample stands at the end of another level's zeros: nothing of it may reach that level."""
    monkeypatch.setattr(cpu, "FEW", few)
    shapes = ((2, 3), (3, 2))
    value = torch.randn(1, 12, 1, 4)
    locations = torch.full((1, 2, 1, 2, 1, 2), -9.0)
    locations[0, 1, 0, 0, 0] = 0.5  # the second query: the middle of the first map
    upstream = torch.ones(1, 2, 4)
    upstream[0, 0] = math.nan  # the first one: nowhere
    gradient = cpu.backward(upstream, value, shapes, locations, torch.ones(1, 2, 1, 2, 1))[0]
    assert gradient.isfinite().all() and gradient.sum() == 4


@pytest.mark.parametrize("reference", [None, "Q", "BQ", "BQL"])
def test_an_image_gives_the_same_bits_alone_and_in_a_batch(reference: str | None, make: Make) -> None:
    call = make(reference is not None, **SOME, reference=reference or "Q")
    together = (call("cpu"), *call.gradients("cpu")[:3])  # that of reference points may be a sum over images
    for i in range(3):
        one = [t[i : i + 1] for t in call.tensors[:3]]
        points = [] if reference is None else [call.reference if reference == "Q" else call.reference[i : i + 1]]
        alone = call.of(*one, *points)
        for a, b in zip((alone("cpu"), *alone.gradients("cpu")[:3]), together, strict=True):
            assert torch.equal(a[0], b[i])


@both
def test_it_repeats_itself_with_any_number_of_threads(fused: bool, make: Make) -> None:
    call = make(fused, **{**SOME, "Q": 2000})  # enough to be shared out
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append((call("cpu"), *call.gradients("cpu")))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0][: len(other)], other, strict=True))


@both
def test_it_is_deterministic_when_asked_to_be(fused: bool, make: Make) -> None:
    call = make(fused, **SOME)
    free = (call("cpu"), *call.gradients("cpu"))
    torch.use_deterministic_algorithms(True)
    try:
        for a, b in zip((call("cpu"), *call.gradients("cpu")), free, strict=True):
            assert torch.equal(a, b)
    finally:
        torch.use_deterministic_algorithms(False)


def test_permuted_queries_permute_the_output_bit_for_bit(make: Make) -> None:
    call = make(True, **SOME)
    order = torch.randperm(37)
    permuted = call.of(call.value, call.places[:, order], call.attention[:, order], call.reference[order])
    assert torch.equal(permuted("cpu"), call("cpu")[:, order])


@pytest.mark.parametrize("impl", ["cpu", "reference"])
@both
def test_layout_does_not_matter(fused: bool, impl: str, make: Make) -> None:
    call = make(fused, **SOME)
    assert same(call, call.map(lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0)), impl)
    assert same(call, call.map(lambda t: torch.cat((t.new_zeros(1), t.flatten()))[1:].view(t.shape)), impl), (
        "misaligned"
    )
    assert same(call, call.map(lambda t: t.repeat_interleave(2, -1)[..., ::2]), impl), "every second element"


@pytest.mark.parametrize("impl", ["cpu", "reference"])
def test_an_expanded_upstream_gradient(impl: str, make: Make) -> None:
    call = make(True, **SOME)
    ones = torch.ones(3, 37, 24)
    expanded = call.gradients(impl, torch.ones(1, 1, 1).expand(3, 37, 24))
    assert all(torch.equal(a, b) for a, b in zip(expanded, call.gradients(impl, ones), strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_values_are_summed_in_float32(dtype: torch.dtype, make: Make) -> None:
    call = make(True, **{**SOME, "dtype": dtype})
    wide = call.map(lambda t: t.float())
    assert torch.equal(call("cpu"), wide("cpu").to(dtype)), "rounded once, at the end"


def test_the_default_device_and_dtype_are_not_its_own(make: Make) -> None:
    call = make(True, **SOME)
    rows_of.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            inside = call("cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    rows_of.cache_clear()
    assert torch.equal(inside, call("cpu"))


def test_what_inference_mode_left_behind_can_be_trained_with(make: Make) -> None:
    call = make(True, **SOME)
    expected = call.gradients("cpu")
    rows_of.cache_clear()
    with torch.inference_mode():
        call("cpu")
    assert all(torch.equal(a, b) for a, b in zip(call.gradients("cpu"), expected, strict=True))


def test_padded_rows_hold_the_value_and_zeros() -> None:
    shapes, M, P = ((2, 3), (1, 1)), 2, 1
    rows = rows_of(shapes, M, P)
    value = torch.arange(1.0, 15).view(1, 7, M, 1)
    table = rows.padded(value).view(-1)
    assert (len(table), table.count_nonzero()) == (rows.pixels * M, 14)
    first, down = rows.first.view(M, 2)[1], rows.down.view(M, 2)[1]  # of the second head, for both levels
    for y in range(-2, 4):
        for x in range(-2, 5):
            expected = value[0, y * 3 + x, 1, 0] if 0 <= y < 2 and 0 <= x < 3 else 0
            assert table[first[0] + y * down[0] + x * M] == expected, (x, y)
    assert table[first[1]] == value[0, 6, 1, 0]


def test_what_it_cannot_serve() -> None:
    assert cpu.reason(torch.empty(1, 1, 1, 1)) is None
    assert cpu.reason(torch.empty(1, 1, 1, 1, dtype=torch.bfloat16)) is None
    assert "float64" in str(cpu.reason(torch.empty(1, 1, 1, 1, dtype=torch.float64)))
    assert "meta" in str(cpu.reason(torch.empty(1, 1, 1, 1, device="meta")))

"""Both operators as callers see them: what they refuse, and what holds whichever implementation runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

Make = Callable[..., Any]
both = pytest.mark.parametrize("fused", [False, True], ids=["core", "fused"])
impls = pytest.mark.parametrize("impl", ["cpu", "reference"])


@impls
def test_it_is_linear_in_the_value(impl: str, make: Make) -> None:
    call = make(True, dtype=torch.float32)
    other = torch.randn_like(call.value)
    apart = 2 * call(impl) + 3 * call.replace(value=other)(impl)
    torch.testing.assert_close(call.replace(value=2 * call.value + 3 * other)(impl), apart)


@impls
def test_softmax_does_not_see_a_shift_of_all_logits_of_a_head(impl: str, make: Make) -> None:
    call = make(True, dtype=torch.float32)
    shifted = call.replace(attention=call.attention + 100 * torch.randn(2, 3, 2, 1, 1))
    torch.testing.assert_close(shifted(impl), call(impl), rtol=0, atol=1e-4)


@impls
def test_large_logits_do_not_overflow(impl: str, make: Make) -> None:
    call = make(True, dtype=torch.float32)
    assert call.replace(attention=1e30 * call.attention)(impl).isfinite().all()


@impls
@pytest.mark.parametrize("reference", ["Q", "BQ", "BQL"])
def test_fused_is_the_core_after_softmax_and_sum(reference: str, impl: str, make: Make) -> None:
    call = make(True, Q=33, P=3, dtype=torch.float32, reference=reference)
    torch.testing.assert_close(call(impl), call.unfused()(impl), rtol=0, atol=1e-5)


@impls
@both
def test_gradients_and_output_keep_the_dtype(fused: bool, impl: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    mixed = call.replace(value=call.value.bfloat16(), attention=call.attention.bfloat16())
    assert mixed(impl).dtype == torch.bfloat16
    gradients = mixed.gradients(impl)
    assert [g.dtype for g in gradients] == [t.dtype for t in mixed.tensors]
    assert [g.shape for g in gradients] == [t.shape for t in mixed.tensors]


@impls
@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_places_are_exact_beside_a_16_bit_value(dtype: torch.dtype, fused: bool, impl: str, make: Make) -> None:
    """On a map of 512 columns, 16-bit locations are off by a pixel and more."""
    call = make(fused, Q=50, D=16, shapes=((8, 512), (4, 256)), dtype=torch.float32)
    call = call.replace(value=call.value.to(dtype))
    exact = call.map(lambda t: t.double())("reference")
    torch.testing.assert_close(call(impl).double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-4)
    missed = (call.replace(places=call.places.to(dtype))(impl) - exact).abs().max()
    assert missed > 20 * (call(impl) - exact).abs().max()


@both
def test_float32_places_beside_a_float64_value(fused: bool, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    call = call.replace(value=call.value.double())
    assert call().dtype == torch.float64
    torch.testing.assert_close(call(), call.map(lambda t: t.double())(), rtol=0, atol=1e-5)


def test_offsets_lose_less_in_16_bits_than_locations(make: Make) -> None:
    call = make(True, Q=50, D=16, shapes=((64, 128),), dtype=torch.float32)
    near = call.replace(places=2 * torch.randn_like(call.places))
    exact = near()
    errors = [
        (c.replace(value=near.value.half(), places=c.places.half())().float() - exact).square().mean()
        for c in (near, near.unfused())
    ]
    assert errors[0] < 0.05 * errors[1]


@both
def test_autocast_casts_the_value_alone(fused: bool, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside, gradients = call(), call.gradients(upstream=torch.ones(2, 3, 8, dtype=torch.bfloat16))
        assert call.map(lambda t: t.double())().dtype == torch.float64, "as everywhere, float64 is left alone"
    assert torch.equal(inside, call.replace(value=call.value.bfloat16())())
    assert [g.dtype for g in gradients] == [torch.float32] * len(call.tensors)


@impls
@both
@pytest.mark.parametrize("sizes", [{"Q": 0}, {"B": 0}, {"B": 0, "Q": 0}], ids=str)
def test_nothing_asked_nothing_returned(sizes: dict[str, int], fused: bool, impl: str, make: Make) -> None:
    call = make(fused, **sizes, dtype=torch.float32)
    output = call(impl)
    assert output.shape == (call.value.shape[0], call.places.shape[1], 8)
    gradients = call.gradients(impl, torch.ones_like(output))
    assert [g.shape for g in gradients] == [t.shape for t in call.tensors]
    assert not any(g.any() for g in gradients)


@impls
@both
def test_expanded_inputs(fused: bool, impl: str, make: Make) -> None:
    one = make(fused, B=1, dtype=torch.float32)
    expanded = one.of(*(t.expand(3, *t.shape[1:]) for t in one.tensors[:3]), *one.tensors[3:])
    assert torch.equal(expanded(impl), one(impl).expand(3, -1, -1))


Damage = Callable[[Any], Any]
BAD: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "value without heads": (lambda c: c.replace(value=c.value.flatten(2)), ("value", "(2, 26, 8)", "(B, S, M, D)")),
    "no channels": (lambda c: c.replace(value=c.value[..., :0]), ("value", "(2, 26, 2, 0)", "channels")),
    "areas": (lambda c: c.replace(shapes=((5, 4), (3, 3))), ("spatial_shapes", "29 tokens", "S=26", "sum to S")),
    "level of no area": (lambda c: c.replace(shapes=((13, 2), (0, 2))), ("spatial_shapes", "(0, 2)", "positive")),
    "negative sides": (lambda c: c.replace(shapes=((5, 4), (-3, -2))), ("spatial_shapes", "(-3, -2)", "positive")),
    "no levels": (lambda c: c.replace(value=c.value[:, :0], shapes=()), ("spatial_shapes ()", "positive")),
    "missing level": (lambda c: c.replace(shapes=((13, 2),)), ("PLACES", "(2, 3, 2, 2, 2, 2)", "L=1")),
    "other batch": (lambda c: c.replace(places=c.places[:1]), ("PLACES", "(1, 3, 2", "B=2")),
    "other heads": (lambda c: c.replace(places=c.places[:, :, :1]), ("PLACES", "M=2")),
    "no points": (lambda c: c.replace(places=c.places[..., :0, :]), ("PLACES", "with points")),
    "no coordinates": (lambda c: c.replace(places=c.places[..., 0]), ("PLACES", "P, 2)")),
    "three coordinates": (lambda c: c.replace(places=c.places[..., [0, 1, 0]]), ("PLACES", "P, 2)")),
    "points of the attention": (
        lambda c: c.replace(attention=c.attention[..., :1]),
        ("ATTENTION", "(2, 3, 2, 2, 1)", "expected (2, 3, 2, 2, 2)"),
    ),
    "places of fewer bits than the value": (
        lambda c: c.replace(places=c.places.bfloat16()),
        ("PLACES is torch.bfloat16", "torch.float64", "the value's dtype or float32"),
    ),
    "attention of fewer bits than the value": (
        lambda c: c.replace(attention=c.attention.half()),
        ("ATTENTION is torch.float16", "the value's dtype or float32"),
    ),
    "two kinds of 16 bits": (
        lambda c: c.replace(value=c.value.half(), places=c.places.bfloat16(), attention=c.attention.half()),
        ("PLACES is torch.bfloat16", "torch.float16"),
    ),
    "places wider than float32 beside 16 bits": (lambda c: c.replace(value=c.value.half()), ("PLACES", "float64")),
    "integers": (lambda c: c.replace(value=c.value.long()), ("value is torch.int64", "floating")),
    "mixed devices": (lambda c: c.replace(attention=c.attention.to("meta")), ("devices are cpu, cpu, meta", "one")),
}
NAMES = {False: ("sampling_locations", "attention_weights"), True: ("offsets", "logits")}


@both
@pytest.mark.parametrize(("damage", "said"), BAD.values(), ids=BAD)
def test_arguments_that_do_not_fit(damage: Damage, said: tuple[str, ...], fused: bool, make: Make) -> None:
    places, attention = NAMES[fused]
    words = [part.replace("PLACES", places).replace("ATTENTION", attention) for part in said]
    with pytest.raises(ValueError, match=re.escape(words[0])) as raised:
        damage(make(fused))()
    assert [part for part in words[1:] if part not in str(raised.value)] == [], str(raised.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda r: r[:2], ("(2, 2)", "(3, 2), (2, 3, 2) or (2, 3, 2, 2)")),
        (lambda r: r[..., :1], ("(3, 1)",)),
        (lambda r: r.half(), ("reference is torch.float16", "float32 or float64")),
        (lambda r: r.to("meta"), ("devices are cpu, cpu, cpu, meta",)),
    ],
)
def test_reference_points_that_do_not_fit(damage: Damage, said: tuple[str, ...], make: Make) -> None:
    call = make(True)
    with pytest.raises(ValueError, match=re.escape(said[0])) as raised:
        call.replace(reference=damage(call.reference))()
    assert all(part in str(raised.value) for part in said)


@both
def test_what_cannot_run_is_refused(fused: bool, make: Make) -> None:
    call = make(fused)
    with pytest.raises(ValueError, match="impl='cuda'"):
        call("cuda")
    with pytest.raises(ValueError, match=r"impl='cpu'.*float64"):
        call("cpu")
    assert torch.equal(call("auto"), call("reference"))

"""The check before the clock: what is right passes, and each way to be wrong is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from effbench.peers.contract import Shapes, chain
from effbench.peers.own import exact
from effbench.peers.registry import find
from effbench.probes.kernel_check import ENDS, accuracy, check, chosen, to_json, verdict
from effbench.probes.kernel_inputs import LOCATIONS, Problem

MOST = 100
SMALL = Problem(((4, 5), (8, 10), (16, 20)), 2, 4, 8, 4, 420, "realistic", torch.float32, "cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def right(value: Tensor, shapes: Shapes, *rest: Tensor) -> Tensor:
    return exact(value, shapes, *rest).to(value.dtype)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("locations", LOCATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cpu", "reference"])
def test_ours_are_right(name: str, dtype: torch.dtype, locations: str, fused: bool) -> None:
    implementation = find(name).load()
    run = implementation.fused if fused else implementation.op
    assert run is not None
    found = check(run, replace(SMALL, dtype=dtype, locations=locations), fused, True, MOST)
    assert verdict(found) is None, found
    assert len(found) == 4
    assert json.loads(json.dumps(to_json(found), allow_nan=False))["output"]["right"]


def test_a_decoder_has_other_queries() -> None:
    found = check(right, replace(SMALL, Q=30), False, True, MOST)
    assert verdict(found) is None


def test_without_a_backward_only_the_output_is_compared() -> None:
    assert check(right, SMALL, False, False, MOST).keys() == {"output"}


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("query", [0, ENDS - 1, SMALL.Q - 1])
def test_one_wrong_query_at_an_end_of_an_image_is_found(image: int, query: int) -> None:
    def straddling(value: Tensor, shapes: Shapes, *rest: Tensor) -> Tensor:
        output = right(value, shapes, *rest).clone()
        output[image, query] = right(value.flip(0), shapes, *rest)[image, query]
        return output

    assert str(verdict(check(straddling, SMALL, False, False, MOST))).startswith("wrong, and not timed")


def wrong_gradient(name: str) -> Callable[..., Tensor]:
    """Right forward; the derivative of one argument is a hundredth too large."""

    def run(value: Tensor, shapes: Shapes, places: Tensor, scores: Tensor) -> Tensor:
        arguments = {"value": value, "locations": places, "weights": scores}
        own = arguments[name]
        arguments[name] = own * 1.01 - (own * 0.01).detach()
        return right(arguments["value"], shapes, arguments["locations"], arguments["weights"])

    return run


@pytest.mark.parametrize("name", ["value", "locations", "weights"])
def test_a_wrong_gradient_is_found_and_named(name: str) -> None:
    found = check(wrong_gradient(name), SMALL, False, True, MOST)
    assert [tensor for tensor, one in found.items() if not one.right] == [name]
    assert f"{name} 0.0" in str(verdict(found))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fused", [False, True])
def test_locations_of_16_bits_are_wrong(dtype: torch.dtype, fused: bool) -> None:
    """On a wide map they miss by a part of a pixel; inputs are rounded first, so that this is no rounding of ours."""

    def rounded(value: Tensor, shapes: Shapes, places: Tensor, weights: Tensor) -> Tensor:
        return right(value, shapes, places.to(value.dtype), weights)

    wide = replace(SMALL, shapes=((4, 40), (8, 80), (8, 160)), Q=100, dtype=dtype)
    found = check(chain(rounded) if fused else rounded, wide, fused, False, MOST)
    assert not found["output"].right


def test_nothing_but_a_number_is_right() -> None:
    found = check(lambda *arguments: right(*arguments) * float("nan"), SMALL, False, False, MOST)
    assert found["output"].error is None and not found["output"].right
    assert "output has no number" in str(verdict(found))
    json.dumps(to_json(found), allow_nan=False)


@pytest.mark.parametrize("change", [lambda x: x[:, 1:], lambda x: x.double()])
def test_another_shape_or_dtype_is_refused(change: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"the output is .*; expected torch.float32 \(2, 420, 32\)"):
        check(lambda *arguments: change(right(*arguments)), SMALL, False, False, MOST)


def test_which_queries_are_compared() -> None:
    assert chosen(50, 50, "cpu").tolist() == list(range(50))
    some = chosen(21950, 200, "cpu").tolist()
    assert some == sorted(set(some)) and len(some) <= 200
    assert some[:ENDS] == list(range(ENDS)) and some[-ENDS:] == list(range(21950 - ENDS, 21950))
    assert some == chosen(21950, 200, "cpu").tolist()


def test_the_error_is_to_the_size_of_the_truth() -> None:
    truth = torch.tensor([3.0, -4.0], dtype=torch.float64)  # rms 3.54
    found = accuracy(torch.tensor([3.0, -3.0]), truth, 0.1)
    assert found.error == pytest.approx(1 / (4 + 12.5**0.5))
    assert (found.max_abs, found.rms, found.right) == (1.0, pytest.approx(0.5**0.5), False)
    jumps = torch.tensor([False, True])
    assert accuracy(torch.tensor([3.0, -3.0]), truth, 0.1, jumps).right

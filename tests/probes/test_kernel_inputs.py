"""Inputs of the operator: the same in every run, as documented, and the same question to both operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from effbench.errors import InputError
from effbench.peers.contract import chain
from effbench.peers.own import exact
from effbench.probes.kernel_inputs import LOCATIONS, Problem, bytes_moved, inputs, pattern, pixels, problem
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
SMALL = Problem(((4, 5), (8, 10), (16, 20)), 2, 4, 8, 4, 420, "initial", torch.float32, "cpu")


def fresh(of: Problem) -> object:
    inputs.cache_clear()
    return inputs(of)


def test_a_cell_is_the_call_that_its_encoder_makes(tiny_cell: MakeCell) -> None:
    cell = tiny_cell(encoder="mask2former", width={}, size="800x1333", queries=21950, options={"locations": "initial"})
    of = problem(cell)
    assert of.shapes == ((25, 42), (50, 84), (100, 167))
    assert (of.S, of.M, of.D, of.P, of.encoder) == (21950, 8, 32, 4, True)
    narrow = problem(replace(cell, width={"dim": 64, "heads": 4}, queries=300))
    assert (narrow.M, narrow.D, narrow.encoder) == (4, 16, False)
    with pytest.raises(InputError, match="locations 'here'; expected one of initial"):
        problem(replace(cell, options={"locations": "here"}))


@pytest.mark.parametrize("locations", LOCATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_the_same_every_time_and_differ_between_images(locations: str, dtype: torch.dtype) -> None:
    of = replace(SMALL, locations=locations, dtype=dtype)
    first, again = fresh(of), fresh(of)
    for one, other in zip(first, again, strict=True):  # type: ignore[call-overload]
        assert torch.equal(one, other)
    made = inputs(of)
    assert {made.value.dtype, made.offsets.dtype, made.weights.dtype, made.grad.dtype} == {dtype}
    assert made.locations.dtype == made.reference.dtype == torch.float32
    assert not torch.equal(made.offsets[0], made.offsets[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("locations", LOCATIONS)
def test_both_operators_are_asked_the_same(locations: str, dtype: torch.dtype) -> None:
    of = replace(SMALL, locations=locations, dtype=dtype)
    made = inputs(of)
    plain = exact(made.value, of.shapes, made.locations, made.weights.double())
    fused = exact(made.value, of.shapes, made.offsets, made.logits, made.reference)
    rounding = {torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 2e-3}[dtype]  # of the weights
    torch.testing.assert_close(plain, fused, atol=rounding, rtol=rounding)


def test_the_chain_is_the_fused_operator() -> None:
    made = inputs(SMALL)
    fused = exact(made.value, SMALL.shapes, made.offsets, made.logits, made.reference)
    found = chain(exact)(made.value, SMALL.shapes, made.offsets, made.logits, made.reference)
    torch.testing.assert_close(found, fused, atol=1e-4, rtol=1e-4)


def test_the_pattern_is_deformable_detrs() -> None:
    found = pattern(8, 4, "cpu")
    assert found.shape == (8, 1, 4, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for point in range(4):
        expected = torch.tensor(directions) * (point + 1.0)
        torch.testing.assert_close(found[:, 0, point], expected, atol=1e-5, rtol=0)


def test_reference_points_are_the_pixels_row_by_row() -> None:
    found = pixels([(2, 3), (1, 1)], "cpu")
    expected = [(1 / 6, 0.25), (0.5, 0.25), (5 / 6, 0.25), (1 / 6, 0.75), (0.5, 0.75), (5 / 6, 0.75), (0.5, 0.5)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_locations_have_the_spread_that_is_documented() -> None:
    shapes = ((25, 42), (50, 84), (100, 167))
    of = Problem(shapes, 1, 8, 4, 4, 21950, "initial", torch.float32, "cpu")
    noise = inputs(of).offsets - pattern(8, 4, "cpu")
    assert noise.std().item() == pytest.approx(2, rel=0.02)
    field = inputs(replace(of, locations="realistic")).offsets - pattern(8, 4, "cpu")
    assert field.square().mean().sqrt().item() == pytest.approx(4, rel=0.2)
    fine = field[0, -16700:].view(100, 167, -1)
    steps = [(fine.diff(dim=axis)).square().mean().sqrt().item() for axis in (0, 1)]
    assert max(steps) < 1.5, "neighbours look alike: independent ones would be 5.7 apart"
    uniform = inputs(replace(of, locations="uniform")).locations
    assert -0.001 < uniform.min() < 0.01 and 0.99 < uniform.max() < 1.001
    inputs.cache_clear()


def test_bytes_are_those_of_the_design() -> None:
    """COCO at batch 1: 22.5 MB of value, 16.9 of locations, 8.4 of weights, 22.5 of output; 1.08 GB gathered."""
    of = Problem(((25, 42), (50, 84), (100, 167)), 1, 8, 32, 4, 21950, "initial", torch.float32, "cpu")
    moved = bytes_moved(of, False, "forward")
    assert moved["compulsory"] == pytest.approx(70.2e6, rel=2e-3)
    assert moved["gathered"] == pytest.approx(1.08e9, rel=2e-3)
    backward, both = bytes_moved(of, False, "backward"), bytes_moved(of, False, "both")
    assert both == {name: moved[name] + backward[name] for name in moved}
    assert backward["compulsory"] == pytest.approx(118e6, rel=2e-3)
    half = bytes_moved(replace(of, dtype=torch.float16), True, "forward")
    assert half["compulsory"] == pytest.approx(35.1e6 + 8 * 21950, rel=2e-3), "offsets in 16 bits, and the references"

"""The matcher's costs: the release's numbers at given points, the formulas by loops, and the assignment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from effbench.errors import DivergedError
from effbench.training.criterion import sample_points
from effbench.training.matcher import assign, match_costs

FIXTURE = Path(__file__).parents[1] / "fixtures/matcher_costs.npz"


@pytest.fixture(scope="module")
def theirs() -> Iterator[Mapping[str, torch.Tensor]]:
    with np.load(FIXTURE) as arrays:
        yield {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("head", ["first", "last"])
def test_agrees_with_the_released_matcher(head: str, image: int, theirs: Mapping[str, torch.Tensor]) -> None:
    labels, targets = theirs[f"labels.{image}"], theirs[f"targets.{image}"].float()
    logits, masks = theirs[f"logits.{head}"][image], theirs[f"masks.{head}"][image]
    points = theirs["points"]
    costs = match_costs(
        logits,
        sample_points(masks, points.expand(len(masks), -1, -1)),
        labels,
        sample_points(targets, points.expand(len(labels), -1, -1)),
    )
    released = {name: theirs[f"{name}.{head}.{image}"] for name in ("class", "mask", "dice", "total", "assignment")}
    for name, ours in (("class", costs.classes), ("mask", costs.mask), ("dice", costs.dice)):
        torch.testing.assert_close(ours, released[name], rtol=0, atol=1e-5)
    total = 2 * costs.classes + 5 * costs.mask + 5 * costs.dice
    torch.testing.assert_close(total, released["total"], rtol=0, atol=1e-5)
    assert torch.equal(torch.stack(assign(total)), released["assignment"])


def test_costs_by_loops() -> None:
    Q, N, P, K = 3, 2, 7, 4
    logits, values = torch.randn(Q, K + 1, dtype=torch.float64), 3 * torch.randn(Q, P, dtype=torch.float64)
    labels, targets = torch.tensor([3, 0]), torch.rand(N, P, dtype=torch.float64)
    costs = match_costs(logits, values, labels, targets)
    for q, n in itertools.product(range(Q), range(N)):
        p = [1 / (1 + math.exp(-v)) for v in values[q].tolist()]
        t = targets[n].tolist()
        entropy = -sum(b * math.log(a) + (1 - b) * math.log(1 - a) for a, b in zip(p, t, strict=True)) / P
        dice = 1 - (2 * sum(a * b for a, b in zip(p, t, strict=True)) + 1) / (sum(p) + sum(t) + 1)
        assert costs.mask[q, n].item() == pytest.approx(entropy, abs=1e-12)
        assert costs.dice[q, n].item() == pytest.approx(dice, abs=1e-12)
        weights = [math.exp(v) for v in logits[q].tolist()]
        assert costs.classes[q, n].item() == pytest.approx(-weights[int(labels[n])] / sum(weights), abs=1e-12)


def test_sure_logits_stay_finite() -> None:
    costs = match_costs(torch.zeros(1, 3), torch.tensor([[1e4, -1e4]]), torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    assert costs.mask.item() == pytest.approx(1e4)


@pytest.mark.parametrize(("queries", "targets"), [(5, 3), (3, 3), (2, 4)])
def test_assignment_is_the_cheapest_of_all(queries: int, targets: int) -> None:
    cost = torch.randn(queries, targets)
    rows, columns = assign(cost)
    assert rows.dtype == columns.dtype == torch.int64
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == min(queries, targets)
    table = cost if queries >= targets else cost.T
    cheapest = min(
        sum(table[q, n].item() for n, q in enumerate(chosen))
        for chosen in itertools.permutations(range(len(table)), table.shape[1])
    )
    assert cost[rows, columns].sum().item() == pytest.approx(cheapest, abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_costs_that_are_no_numbers_are_refused_with_advice(value: float) -> None:
    with pytest.raises(DivergedError, match="expected finite ones, lower the learning rate"):
        assign(torch.tensor([[0.0, value]]))


def test_no_targets_no_matches() -> None:
    costs = match_costs(torch.randn(4, 3), torch.randn(4, 6), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 6))
    assert costs.classes.shape == costs.mask.shape == costs.dice.shape == (4, 0)
    assert [len(x) for x in assign(costs.mask)] == [0, 0]

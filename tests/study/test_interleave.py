"""Replicas in an order in which drift hits all cells alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.interleave import interleaved, replica, unreplicated

A = Cell("fpn", "r50", dataset="coco", size="512x512", classes=133, queries=100, options={"samples": 11})
B = replace(A, encoder="proscale")


def test_the_order_turns_round_every_time() -> None:
    cells = interleaved([A, B], 4)
    assert [cell.encoder[0] for cell in cells] == list("fppffppf")


def test_an_even_drift_adds_as_much_to_all() -> None:
    cells = interleaved([A, B, replace(A, encoder="lite")], 2)
    places = {name: [i for i, c in enumerate(cells) if c.encoder == name] for name in ("fpn", "proscale", "lite")}
    assert {sum(at) for at in places.values()} == {5}


def test_replicas_are_cells_of_their_own() -> None:
    cells = interleaved([A, B], 3)
    assert len({cell.id for cell in cells}) == 6
    assert {cell.options["replica"] for cell in cells} == {0, 1, 2}
    assert all(cell.options["samples"] == 11 for cell in cells)


def test_replicas_of_a_cell_are_put_together_again() -> None:
    assert {unreplicated(cell).id for cell in interleaved([A, B], 3)} == {A.id, B.id}
    assert unreplicated(A) == A


def test_no_replica_is_no_study() -> None:
    with pytest.raises(InputError, match="0 replicas; expected at least 1"):
        interleaved([A], 0)


def test_seeds_of_a_training_are_put_together_too() -> None:
    seeds = [replace(A, options={"recipe": {"steps": 5, "seed": seed}}) for seed in (0, 1)]
    assert len({cell.id for cell in seeds}) == 2
    assert len({unreplicated(cell).id for cell in seeds}) == 1
    assert [replica(cell) for cell in seeds] == [(0, 0), (0, 1)]
    other = replace(A, options={"recipe": {"steps": 6, "seed": 0}})
    assert unreplicated(other).id != unreplicated(seeds[0]).id, "another recipe is another cell"


def test_a_replica_says_which_it_is() -> None:
    assert [replica(cell) for cell in interleaved([A], 2)] == [(0, 0), (1, 0)]

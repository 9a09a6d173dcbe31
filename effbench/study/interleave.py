"""Cells measured several times: in fresh processes, in an order in which drift hits all alike, or with several seeds.

The first sample of a comparison is the process: one process' samples share its memory layout and its neighbours. Of a
training it is the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from effbench.errors import InputError
from effbench.study.cell import Cell

REPLICA, RECIPE, SEED = "replica", "recipe", "seed"


def interleaved(cells: Sequence[Cell], replicas: int) -> list[Cell]:
    """A B, B A, A B, ...: every cell `replicas` times, told apart by the option `replica` (from 0).

    A machine that gets slower or faster evenly does so to all of them. Raises InputError for less than one replica.
    """
    if replicas < 1:
        raise InputError(f"{replicas} replicas; expected at least 1")
    rounds = [[replace(cell, options={**cell.options, REPLICA: r}) for cell in cells] for r in range(replicas)]
    return [cell for r, once in enumerate(rounds) for cell in (once if r % 2 == 0 else reversed(once))]


def replica(cell: Cell) -> tuple[int, int]:
    """Which replica the cell is: (process, training seed), 0 where it says neither."""
    return cell.options.get(REPLICA, 0), cell.options.get(RECIPE, {}).get(SEED, 0)


def unreplicated(cell: Cell) -> Cell:
    """The cell of which `cell` is a replica: equal for those that are to be put together."""
    options = {name: value for name, value in cell.options.items() if name != REPLICA}
    if RECIPE in options:
        options[RECIPE] = {name: value for name, value in options[RECIPE].items() if name != SEED}
    return replace(cell, options=options)

"""Tables of an early-exit model: its quality at every exit, by how it was trained, and where images are best."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
import pandas as pd

from effbench.quality import ImageStats, bootstrap_pq, interval
from effbench.quality.bootstrap import Floats
from effbench.report.table import Place, measured, places
from effbench.study.cell import Cell
from effbench.study.interleave import replica
from effbench.study.record import Record

PAIRS = (("weighted", "last"), ("uniform", "last"), ("weighted", "uniform"))
"""Losses of step A that are held against each other: the first minus the second."""


def exits_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ in percent at every exit, by how the exits were trained: mean over seeds, and lowest to highest of several."""
    rows = []
    for place in places(measured(records, "exits")):
        cell, exits = Cell.from_json(place[0].cell), place[0].detail["exits"]
        pqs = {layer: [record.detail["exits"][layer]["all"]["pq"] for record in place] for layer in exits}
        rows.append(
            {
                "system": cell.system,
                "trained": place[0].detail["recipe"]["exit_loss"],
                "seeds": str(len(place)),
                **{f"exit {layer}": _span(found) for layer, found in pqs.items()},
            }
        )
    return pd.DataFrame(rows).fillna("-")


def best_exits_table(records: Sequence[Record]) -> pd.DataFrame:
    """Share of the images whose PQ is highest at an exit, the earliest of several, and the mean PQ of images there."""
    rows = []
    for record in measured(records, "derivation"):
        for split, counts in record.detail["best_exits"].items():
            total, mean = sum(counts.values()), record.detail["mean_pq"][split]
            shown = {f"exit {k}": f"{100 * n / total:.0f}% ({mean[k]:.1f})" for k, n in counts.items()}
            system = Cell.from_json(record.cell).system
            rows.append({"system": system, "images": f"{split}, {total}", **shown})
    return pd.DataFrame(rows).fillna("-")


def losses_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ at every exit by one loss of step A minus that by another, in points: mean of the seeds' differences.

    In brackets the 95% interval of the paired bootstrap over images; behind it the difference of every seed.
    """
    found = {(_system(place), _loss(place)): place for place in places(measured(records, "exits"))}
    rows = []
    for system in dict.fromkeys(system for system, _ in found):
        for one, other in PAIRS:
            if (system, one) in found and (system, other) in found:
                differences = _differences(found[system, one], found[system, other])
                rows.append({"system": system, "loss": f"{one} minus {other}", **differences})
    return pd.DataFrame(rows).fillna("-")


def _differences(one: Place, other: Place) -> dict[str, str]:
    others = {replica(Cell.from_json(record.cell)): record for record in other}
    pairs = [(record, others[seed]) for record in one if (seed := replica(Cell.from_json(record.cell))) in others]
    shown = {}
    for number, layer in enumerate(one[0].detail["exits"]):
        own = [a.detail["exits"][layer]["all"]["pq"] - b.detail["exits"][layer]["all"]["pq"] for a, b in pairs]
        drawn = np.mean([_drawn(a, number) - _drawn(b, number) for a, b in pairs], axis=0)
        low, high = interval(drawn)
        seeds = ", ".join(f"{difference:+.1f}" for difference in own)
        shown[f"exit {layer}"] = f"{statistics.fmean(own):+.1f} ({low:+.1f} to {high:+.1f}); {seeds}"
    return shown


def _drawn(record: Record, exit: int) -> Floats:
    """PQ at the exit of that number, for every bootstrap draw of the images."""
    images = [ImageStats.from_json(exits[exit]) for _, exits in sorted(record.detail["per_image"].items())]
    return bootstrap_pq(images, {category for image in images for category in image})


def _system(place: Place) -> str:
    return Cell.from_json(place[0].cell).system


def _loss(place: Place) -> str:
    return str(place[0].detail["recipe"]["exit_loss"])


def _span(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"

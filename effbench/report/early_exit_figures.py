"""Figures of early exit: where images are best, what a layer is worth, and quality against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from effbench.report.table import GIGA, measured, places
from effbench.study.cell import Cell
from effbench.study.record import Record

mpl.use("Agg")  # a report is written where there may be no screen

UTILITY_BETAS = (0.0, 0.001, 0.005, 0.02)


def draw(records: Sequence[Record], system: str, path: Path) -> bool:
    """The figures of `system` side by side into `path`; False, and no file, without a derived data set.

    Left: images by their best exit, the paper's figure 2. Middle: mean utility of the exits, its figure 4. Right, where
    the exits' MACs are counted: PQ against MACs of fixed exits, of gates, of chance and of the oracle, its figure 5.
    """
    path.unlink(missing_ok=True)
    own = [r for r in records if r.status == "ok" and Cell.from_json(r.cell).system == system]
    derived = next((r for r in own if r.probe == "derivation"), None)
    if derived is None:
        return False
    cell = Cell.from_json(derived.cell)
    counted = {
        str(r.cell["options"]["exit"]): r.detail["papers"]["encoder"] / GIGA
        for r in own
        if r.probe == "macs" and r.cell["width"] and "exit" in r.cell["options"]
    }
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        canvas = Figure(figsize=(17 if counted else 11, 4.6), layout="constrained")
        left, middle, *right = canvas.subplots(1, 3 if counted else 2)
        _best_exits(left, derived.detail["best_exits"])
        _utility(middle, {int(layer): pq for layer, pq in derived.detail["mean_pq"]["train"].items()})
        for axis in right:
            _trade_off(axis, own, _alone(records, cell), counted)
        canvas.suptitle(f"{system}, width {cell.width.get('dim', 'as published')}, {cell.dataset}", fontsize=10)
        canvas.savefig(path, dpi=150)
    return True


def _best_exits(axis: Axes, counts: Mapping[str, Mapping[str, int]]) -> None:
    width = 0.8 / len(counts)
    for number, (split, images) in enumerate(counts.items()):
        place = np.arange(len(images)) + (number - (len(counts) - 1) / 2) * width
        total = sum(images.values())
        axis.bar(place, [100 * n / total for n in images.values()], width, label=f"{split}, {total} images")
    axis.set_xticks(range(len(images)), list(images))
    axis.set(xlabel="exit with the highest PQ, the earliest of several", ylabel="images, %")
    axis.legend(frameon=False)


def _utility(axis: Axes, mean_pq: Mapping[int, float]) -> None:
    layers = list(mean_pq)
    for beta in UTILITY_BETAS:
        axis.plot(layers, [mean_pq[k] - 100 * beta * k for k in layers], marker="o", label=f"beta {beta:g}")
    axis.set(xlabel="exit", ylabel="mean over images of PQ - beta x layer, points")
    axis.set_xticks(layers)
    axis.legend(frameon=False)


def _trade_off(axis: Axes, own: Sequence[Record], alone: Mapping[str, float], counted: Mapping[str, float]) -> None:
    """`alone`: PQ of models that were trained with so many layers. `counted`: exit -> encoder's GMACs."""
    fixed = next((r for r in own if r.probe == "exits" and _weighted(r)), None)
    if fixed is not None:
        exits = fixed.detail["exits"]
        every = [exits[k]["all"]["pq"] for k in exits]
        axis.plot([counted[k] for k in exits], every, marker="s", label="fixed exits, trained for all")
    gates = sorted((r for r in own if r.probe == "gate" and _plain(r)), key=lambda r: r.detail["recipe"]["beta"])
    values = [r.detail["value"]["dataset"] for r in gates]
    cost = [_cost(r.detail["chosen"]["val"]["images"], counted) for r in gates]
    axis.plot(cost, [value["gate"]["value"] for value in values], "o", label="gates, with their beta")
    axis.plot(cost, [value["random"]["value"] for value in values], "x", label="their exits by chance")
    oracle = [_cost(value["oracle_exits"], counted) for value in values]
    axis.plot(oracle, [value["oracle"]["value"] for value in values], "^", label="oracle, no deeper than a gate")
    for betas, x, y in _clusters(gates, cost, 0.03 * (max(counted.values()) - min(counted.values()))):
        label = f"{betas[0]:g}" if len(betas) == 1 else f"{betas[0]:g} to {betas[-1]:g}"
        axis.annotate(label, (x, y), (4, -11), textcoords="offset points", fontsize=7)
    known = [k for k in counted if k in alone]
    if known:
        pqs, gmacs = [alone[k] for k in known], [counted[k] for k in known]
        axis.plot(gmacs, pqs, marker="D", ls=":", label="trained with so many layers")
    axis.set(xlabel="encoder GMACs per image (papers' convention)", ylabel="PQ on the validation images, %")
    axis.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


def _clusters(gates: Sequence[Record], cost: Sequence[float], near: float) -> list[tuple[list[float], float, float]]:
    """Gates in the order of their betas, those that cost nearly the same together: betas, and where to name them."""
    found: list[tuple[list[float], float, float]] = []
    for gate, x in zip(gates, cost, strict=True):
        beta, y = gate.detail["recipe"]["beta"], gate.detail["value"]["dataset"]["gate"]["value"]
        if found and abs(found[-1][1] - x) <= near:
            betas, first, lowest = found.pop()
            found.append(([*betas, beta], first, min(lowest, y)))
        else:
            found.append(([beta], x, y))
    return found


def _cost(images: Mapping[str, int], counted: Mapping[str, float]) -> float:
    """Mean GMACs of images that leave at exits so many each."""
    return sum(number * counted[exit] for exit, number in images.items()) / sum(images.values())


def _alone(records: Sequence[Record], cell: Cell) -> dict[str, float]:
    """Layers -> PQ of models of the base that were trained with so many and have no exits, mean over seeds."""
    found = {}
    for place in places(measured(records, "quality")):
        other = Cell.from_json(place[0].cell)
        if other.encoder == cell.settings["base"] and "layers" in other.settings:
            found[str(other.settings["layers"])] = float(np.mean([r.detail["all"]["pq"] for r in place]))
    return found


def _weighted(record: Record) -> bool:
    """The model that the gates are of."""
    recipe = record.cell["options"]["recipe"]
    return bool(recipe["exit_loss"] == "weighted" and recipe["seed"] == 0)


def _plain(record: Record) -> bool:
    """A gate of the paper's loss over all exits."""
    recipe: Any = record.detail["recipe"]
    return bool(recipe["loss"] == "hard_ce" and not recipe["k"])

"""Figures of a study, from its table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from effbench.study.suite import Savings, TradeOff

mpl.use("Agg")  # a report is written where there may be no screen

MARKERS = "osD^vP*X<>"
LEAST_RANGE = 12.0
"""Points of PQ that the axis spans at least: a zoomed axis would make noise look like an order."""


def trade_off(table: pd.DataFrame, figure: TradeOff, intervals: Mapping[str, tuple[float, float]], path: Path) -> bool:
    """Draw `figure` from the table's columns, with the intervals of its quality, into `path`.

    Systems without all the numbers are left out; False, and no file, when none is left.
    """
    quality, quality_label = figure.y
    data = table.dropna(subset=[quality, *figure.x])
    if data.empty:
        return False
    bounds = [bound for name in data.index for bound in intervals[name]]
    middle, span = (min(bounds) + max(bounds)) / 2, max(1.1 * (max(bounds) - min(bounds)), LEAST_RANGE)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        canvas = Figure(figsize=(10, 4.2), layout="constrained")
        panels = canvas.subplots(1, len(figure.x), sharey=True, squeeze=False)[0]
        for panel, (column, label) in zip(panels, figure.x.items(), strict=True):
            looks = _looks(data)
            for name, row in data.iterrows():
                colour, marker = looks[name]
                low, high = intervals[name]
                spread = [[max(0.0, row[quality] - low)], [max(0.0, high - row[quality])]]  # it may miss the estimate
                panel.errorbar(row[column], row[quality], spread, fmt=marker, color=colour, capsize=3, ms=7, label=name)
            panel.set(xlabel=label, ylim=(middle - span / 2, middle + span / 2))
            panel.set_xlim(left=0)
        panels[0].set_ylabel(quality_label)
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        canvas.suptitle(figure.caption, fontsize=10)
        canvas.savefig(path, dpi=150)
    return True


def _looks(table: pd.DataFrame) -> dict[Any, tuple[Any, str]]:
    """Colour and marker of every system: the same in all figures of systems that are trained and timed."""
    colours = sns.color_palette("husl" if len(table) > 10 else None, n_colors=len(table))
    return dict(zip(table.index, zip(colours, itertools.cycle(MARKERS), strict=False), strict=True))


def savings(table: pd.DataFrame, figure: Savings, baseline: str, path: Path) -> bool:
    """Draw the share of time against the share of MACs that each system saves of the baseline's, into `path`.

    On the diagonal a system saves as much time as it saves MACs. False, and no file, without the baseline's numbers
    or without another system's.
    """
    ratios = table[[figure.macs, f"{figure.time} / {baseline}"]].set_axis(["macs", "time"], axis=1).dropna()
    if baseline not in ratios.index or len(ratios) < 2:
        return False
    ratios["macs"] /= ratios.loc[baseline, "macs"]
    saved = 100 * (1 - ratios).drop(index=baseline)
    low = min(0.0, float(saved.to_numpy().min())) - 5
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        canvas = Figure(figsize=(9, 5.5))
        panel = canvas.subplots()
        panel.plot([low, 100], [low, 100], color="0.6", lw=1, ls="--", label="as much as in MACs")
        looks = _looks(ratios)  # the baseline keeps its own, which nothing here is drawn in
        for name, row in saved.iterrows():
            colour, marker = looks[name]
            panel.plot(row["macs"], row["time"], marker, color=colour, ms=9, label=name)
        panel.set(xlim=(low, 100), ylim=(low, 100), aspect="equal")
        panel.set(xlabel=f"MACs saved against {baseline}, %", ylabel=f"time saved against {baseline}, %")
        panel.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        panel.set_title(figure.caption, fontsize=10)
        canvas.savefig(path, dpi=150, bbox_inches="tight")
    return True

"""Figures of a study, from its table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from effbench.report.table import ratio_title
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


def savings(
    table: pd.DataFrame,
    figure: Savings,
    baseline: str,
    rounds: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
) -> bool:
    """Draw the share of time against the share of MACs that each system saves of the baseline's, into `path`.

    On the diagonal a system saves as much time as it saves MACs. `rounds` are column -> system -> its ratios of time,
    from which bars are drawn where there are several: lowest to highest. False, and no file, without the baseline's
    numbers or without another system's.
    """
    shares = table[[figure.macs, *(ratio_title(time, baseline) for time in figure.times)]].dropna()
    shares = shares.set_axis(["macs", *figure.times], axis=1)
    if baseline not in shares.index or len(shares) < 2:
        return False
    shares["macs"] /= shares.loc[baseline, "macs"]
    looks = _looks(shares)  # the baseline keeps its own, which nothing here is drawn in
    others = shares.drop(index=baseline)
    highest = max(others.to_numpy().max(), *(max(rounds[time][name]) for time in figure.times for name in others.index))
    low = min(0.0, 100 * (1 - highest)) - 5
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        canvas = Figure(figsize=(4 + 5 * len(figure.times), 5.5), layout="constrained")
        panels = canvas.subplots(1, len(figure.times), sharey=True, squeeze=False)[0]
        for panel, (time, label) in zip(panels, figure.times.items(), strict=True):
            panel.plot([low, 100], [low, 100], color="0.6", lw=1, ls="--", label="as much as in MACs")
            for name, row in others.iterrows():
                (colour, marker), own = looks[name], rounds[time][str(name)]
                bars = [[100 * (max(own) - row[time])], [100 * (row[time] - min(own))]] if len(own) > 1 else None
                point = 100 * (1 - row["macs"]), 100 * (1 - row[time])
                panel.errorbar(*point, bars, fmt=marker, color=colour, capsize=4, ms=9, label=name)
            panel.set(xlim=(low, 100), ylim=(low, 100), aspect="equal", title=label)
            panel.set_xlabel(f"MACs saved against {baseline}, %")
        panels[0].set_ylabel(f"time saved against {baseline}, %")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        canvas.suptitle(figure.caption, fontsize=10)
        canvas.savefig(path, dpi=150)
    return True

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
    path.unlink(missing_ok=True)
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
    """Colour and marker of every system of the table, in its order."""
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
    from which bars are drawn where there are several: lowest to highest. A panel without the baseline's numbers, or
    without another system's, is left out; False, and no file, when none is left.
    """
    path.unlink(missing_ok=True)
    panels = {time: _shares(table, figure.macs, ratio_title(time, baseline), baseline) for time in figure.times}
    panels = {time: shares for time, shares in panels.items() if len(shares)}
    if not panels:
        return False
    drawn = {baseline, *(name for shares in panels.values() for name in shares.index)}
    looks = _looks(table.loc[[name for name in table.index if name in drawn]])  # the baseline's own are not used
    ratios = [ratio for time, shares in panels.items() for name in shares.index for ratio in rounds[time][name]]
    highest = max(*ratios, *(shares.to_numpy().max() for shares in panels.values()))
    low = min(0.0, 100 * (1 - highest)) - 5
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        canvas = Figure(figsize=(5.4 * columns, 5.4 * rows))
        axes = canvas.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.25, "hspace": 0.3})
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (time, shares) in zip(axes.flat, panels.items(), strict=False):
            axis.plot([low, 100], [low, 100], color="0.6", lw=1, ls="--", label="as much as in MACs")
            for name, row in shares.iterrows():
                (colour, marker), own = looks[name], rounds[time][str(name)]
                bars = [[100 * (max(own) - row["time"])], [100 * (row["time"] - min(own))]] if len(own) > 1 else None
                point = 100 * (1 - row["macs"]), 100 * (1 - row["time"])
                axis.errorbar(*point, bars, fmt=marker, color=colour, capsize=4, ms=9, label=name)
            axis.set(xlim=(low, 100), ylim=(low, 100), aspect="equal", title=figure.times[time])
            axis.set_xlabel(f"MACs saved against {baseline}, % (papers' convention)")
            axis.set_ylabel(f"time saved against {baseline}, %")
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        canvas.suptitle(figure.caption, fontsize=10, x=0.1, y=0.96, ha="left", va="bottom")
        canvas.savefig(path, dpi=150, bbox_inches="tight")
    return True


def _shares(table: pd.DataFrame, macs: str, ratio: str, baseline: str) -> pd.DataFrame:
    """Shares of the baseline's MACs and time that the other systems need, of those that have both."""
    shares = table[[macs, ratio]].set_axis(["macs", "time"], axis=1).dropna()
    if baseline not in shares.index:
        return shares.iloc[:0]
    shares["macs"] /= shares.loc[baseline, "macs"]
    return shares.drop(index=baseline)

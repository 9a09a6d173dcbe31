"""Figures of a study, from its table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from effbench.report.table import NARROW_MACS, NARROW_MS, PQ

mpl.use("Agg")  # a report is written where there may be no screen

MARKERS = "osD^vP*X<>"
AXES = {NARROW_MACS: "encoder GMACs per image", NARROW_MS: "encoder ms per image (median)"}
LEAST_RANGE = 12.0
"""Points of PQ that the axis spans at least: a zoomed axis would make noise look like an order."""


def trade_off(table: pd.DataFrame, intervals: Mapping[str, tuple[float, float]], path: Path) -> bool:
    """PQ with its 95% intervals against MACs and against time of the same models.

    False, and no file, while a number is missing.
    """
    needed = [PQ, *AXES]
    if not set(needed) <= set(table.columns) or table[needed].isna().any(axis=None):
        return False
    bounds = [bound for name in table.index for bound in intervals[name]]
    middle, span = (min(bounds) + max(bounds)) / 2, max(1.1 * (max(bounds) - min(bounds)), LEAST_RANGE)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        panels = figure.subplots(1, len(AXES), sharey=True)
        for panel, (column, heading) in zip(panels, AXES.items(), strict=True):
            looks = zip(
                table.iterrows(), sns.color_palette(n_colors=len(table)), itertools.cycle(MARKERS), strict=False
            )
            for (name, row), colour, marker in looks:
                low, high = intervals[name]
                spread = [[max(0.0, row[PQ] - low)], [max(0.0, high - row[PQ])]]  # it need not hold the estimate
                panel.errorbar(row[column], row[PQ], spread, fmt=marker, color=colour, capsize=3, ms=7, label=name)
            panel.set(xlabel=heading, ylim=(middle - span / 2, middle + span / 2))
            panel.set_xlim(left=0)
        panels[0].set_ylabel("PQ on the embedded validation set, %")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
        figure.suptitle("Narrow models, one seed; bars: 95% bootstrap intervals over the images", fontsize=10)
        figure.savefig(path, dpi=150)
    return True

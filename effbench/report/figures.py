"""Figures of a study, from its table."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from effbench.report.table import NARROW_MACS, NARROW_MS, PQ

mpl.use("Agg")  # a report is written where there may be no screen

AXES = {
    NARROW_MACS: "encoder GMACs per image (papers' convention)",
    NARROW_MS: "encoder milliseconds per image (median)",
}


def trade_off(table: pd.DataFrame, path: Path) -> bool:
    """PQ against MACs and against time of the same models; False, and no file, while a number is missing."""
    needed = [PQ, *AXES]
    if not set(needed) <= set(table.columns) or table[needed].isna().any(axis=None):
        return False
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.9):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        panels = figure.subplots(1, len(AXES), sharey=True)
        data = table[needed].rename_axis("system").reset_index()
        for panel, (column, heading) in zip(panels, AXES.items(), strict=True):
            sns.scatterplot(
                data, x=column, y=PQ, hue="system", style="system", s=90, ax=panel, legend=panel is panels[-1]
            )
            panel.set_xlabel(heading)
            panel.set_ylabel("PQ on the embedded validation set, %")
            panel.set_xlim(left=0)
            panel.margins(y=0.25)
        sns.move_legend(panels[-1], "center left", bbox_to_anchor=(1.02, 0.5), title=None, frameon=False)
        figure.suptitle("Narrow models, one seed: differences of a few points are within the noise", fontsize=10)
        figure.savefig(path, dpi=150)
    return True

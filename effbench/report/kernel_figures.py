"""The figure of the operator: times of implementations side by side, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from effbench.report.figures import MARKERS

mpl.use("Agg")  # a report is written where there may be no screen

SPREAD = 0.5
"""Between the first implementation and the last one of a call, whose next is 1 away."""

Point = tuple[str, str, str, float]
"""Direction, call, implementation, median us."""


def draw(points: Sequence[Point], path: Path) -> bool:
    """A panel for each direction with a line for each call, into `path`; False, and no file, without points."""
    path.unlink(missing_ok=True)
    if not points:
        return False
    directions, calls, names = (list(dict.fromkeys(point[axis] for point in points)) for axis in range(3))
    colours = sns.color_palette("husl" if len(names) > 10 else None, n_colors=len(names))
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook", font_scale=0.85):
        canvas = Figure(figsize=(4.2 + 3.6 * len(directions), 1.6 + 0.5 * len(calls)), layout="constrained")
        panels = canvas.subplots(1, len(directions), sharey=True, squeeze=False)[0]
        for panel, direction in zip(panels, directions, strict=True):
            for number, name in enumerate(names):
                beside = SPREAD * (number / max(len(names) - 1, 1) - 0.5)  # equal times would hide each other
                own = [(us, calls.index(call) + beside) for d, call, n, us in points if (d, n) == (direction, name)]
                if own:
                    marker = MARKERS[number % len(MARKERS)]
                    panel.plot(*zip(*own, strict=True), marker, color=colours[number], ms=8, label=name)
            panel.set(xscale="log", xlabel="median us of a call", title=direction)
        panels[0].set_yticks(range(len(calls)), calls)
        panels[0].set_ylim(len(calls) - 0.5, -0.5)
        handles = {
            label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        canvas.legend(handles.values(), handles.keys(), loc="outside right upper", frameon=False)
        canvas.savefig(path, dpi=150)
    return True

"""The figure of single images with the exit that each took: the paper's figures 6 and F1."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from effbench.study.cell import Cell
from effbench.study.record import Record

mpl.use("Agg")  # a report is written where there may be no screen

ROWS = {"image": "image", "truth": "truth", "gated": "where the gate left", "deepest": "deepest exit"}
SIDE = 1.9
"""Inches of a picture."""


def draw(records: Sequence[Record], system: str, path: Path) -> bool:
    """The images of `system`'s first record of examples into `path`; False, and no file, where there is none."""
    path.unlink(missing_ok=True)
    found = [r for r in records if r.probe == "exit_examples" and r.status == "ok"]
    record = next((r for r in found if Cell.from_json(r.cell).system == system), None)
    if record is None:
        return False
    examples = record.detail["examples"]
    with sns.axes_style("white"):
        canvas = Figure(figsize=(SIDE * len(examples) + 0.3, (SIDE + 0.35) * len(ROWS)), layout="constrained")
        axes = canvas.subplots(len(ROWS), len(examples), squeeze=False)
        for row, (name, title) in zip(axes, ROWS.items(), strict=True):
            row[0].set_ylabel(title, fontsize=9)
            for axis, example in zip(row, examples, strict=True):
                axis.imshow(Image.open(io.BytesIO(base64.b64decode(example["pictures"][name]))))
                axis.set_xticks([])
                axis.set_yticks([])
                if name in example:
                    axis.set_title(f"exit {example[name]['exit']}, PQ {example[name]['pq']:.1f}", fontsize=9)
        recipe = record.detail["gate"]
        canvas.suptitle(f"{system}, gate of beta {recipe['beta']:g}; PQ of the single image in percent", fontsize=10)
        canvas.savefig(path, dpi=110)
    return True

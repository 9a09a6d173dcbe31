"""Parameters by component. Deterministic: one sample."""

from __future__ import annotations

from effbench.probes.base import Context, Measurement, needs_nothing, segmenter
from effbench.study.cell import Cell

NAME = "parameters"
VERSION = "1"
INSIDE = "trainable parameters of the encoder"
missing = needs_nothing


def measure(cell: Cell, context: Context) -> Measurement:
    """Trainable parameters of backbone, encoder and decoder; the sample is the encoder's."""
    model = segmenter(cell, device="meta")
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return Measurement([parts["encoder"]], "parameters", parts)

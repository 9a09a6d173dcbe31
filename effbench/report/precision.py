"""The table of what a faster precision or mode costs in accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from effbench.report.table import measured
from effbench.study.cell import Cell
from effbench.study.record import Record


def precision_table(records: Sequence[Record]) -> pd.DataFrame:
    """Relative root mean square error (and the largest) of every map that an encoder gives, for each condition."""
    rows = []
    for record in measured(records, "precision"):
        cell = Cell.from_json(record.cell)
        rows.append(
            {
                "system": cell.system,
                "input": cell.size,
                "conditions": f"{cell.device}, {cell.conditions}",
                **{
                    name.replace("_", " "): f"{error['rms']:.1e} ({error['largest']:.1e})"
                    for name, error in record.detail["outputs"].items()
                },
            }
        )
    return pd.DataFrame(rows)

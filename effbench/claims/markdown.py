"""Tables and text as markdown shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from effbench.report.markdown import markdown


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of column -> cell as a table; a cell that a row lacks is empty."""
    frame = pd.DataFrame([{k: escaped(str(v)) for k, v in row.items()} for row in rows]).fillna("")
    return markdown(frame)


def escaped(text: str) -> str:
    """Text that markdown shows as it is, save for the italics of whole cells."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("~", "\\~")

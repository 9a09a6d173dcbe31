"""Sections and tables of a report, in markdown."""

from __future__ import annotations

import pandas as pd


def section(title: str, text: str, frame: pd.DataFrame) -> list[str]:
    """Heading, text and table, or nothing for an empty table."""
    return [f"## {title}", text, markdown(frame)] if len(frame) else []


def markdown(frame: pd.DataFrame) -> str:
    """The table as it is, numbers that are text included; nothing for an empty one."""
    return str(frame.to_markdown(index=False, disable_numparse=True)) if len(frame) else ""

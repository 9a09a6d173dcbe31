"""The folder for what can be made again: generated data, warm starts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`EFFBENCH_CACHE`, else `$XDG_CACHE_HOME/effbench`, else `~/.cache/effbench`; not made here."""
    if named := os.environ.get("EFFBENCH_CACHE"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "effbench"

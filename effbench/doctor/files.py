"""Linux's descriptions of itself under /proc and /sys, which may be missing elsewhere or in a container."""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> str | None:
    """The text of a file without the white space around it; None where there is none that may be read."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def sizes(path: Path) -> dict[str, int]:
    """The entries of a file like /proc/meminfo that are in kB, in bytes; {} where it is missing."""
    lines = (line.split() for line in (read(path) or "").splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}

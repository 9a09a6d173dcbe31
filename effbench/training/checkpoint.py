"""Checkpoints that are whole or absent, and what is said of one that cannot be used."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from effbench.errors import InputError
from effbench.files import replacing

LISTED = 5
"""Names of weights in a message; the rest are counted."""


def save_atomic(state: dict[str, Any], path: Path) -> None:
    """Write `state` to `path` as `replacing` does."""
    with replacing(path) as file:
        torch.save(state, file)


def load(path: Path) -> dict[str, Any]:
    """What `save_atomic` wrote: tensors and plain containers only, on the CPU.

    Raises InputError when the file is anything else, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch reads damaged numbers without a word
                raise zipfile.BadZipFile(f"{damaged} in it is damaged")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except OSError:
        raise  # it names the file
    except Exception as error:  # of many types, from the archive's, the unpickler's and torch's side
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(
            f"{path} is no whole checkpoint ({type(error).__name__}: {reason}); expected a file that training wrote, "
            "remove it and train again"
        ) from error
    return state


def check_same(own: Mapping[str, Any], found: Mapping[str, Any], where: Path) -> None:
    """That `found`, which `where` holds, has the names of `own` and tensors of the same shapes.

    Raises InputError that counts and names what is missing, what is too much and what has another shape.
    """
    missing, unexpected = own.keys() - found.keys(), found.keys() - own.keys()
    other = {name for name in own.keys() & found.keys() if _shape(own[name]) != _shape(found[name])}
    if missing or unexpected or other:
        raise InputError(
            f"{where} is of another architecture than the model that it is for: {_some('missing', missing)}, "
            f"{_some('unexpected', unexpected)}, {_some('of another shape', other)}; "
            "put the file that belongs there back, or remove it and train again"
        )


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, torch.Tensor) else None


def _some(what: str, names: Collection[str]) -> str:
    """How many weights are what is said of them, and the first of them by name."""
    if not names:
        return f"none {what}"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)} {what} ({', '.join(sorted(names)[:LISTED])}{more})"

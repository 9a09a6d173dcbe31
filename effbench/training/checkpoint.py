"""Checkpoints that are whole or absent: written beside their name and moved onto it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from effbench.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the name `path` when the block ends; a kill at any moment leaves the old file or the new one.

    Raises InputError when it cannot be written, on a full disk for one; then nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, path)
    except BaseException as error:
        os.unlink(file.name)
        reason = error.__context__ if isinstance(error, RuntimeError) else error  # torch.save hides the system's own
        if not isinstance(reason, OSError):
            raise
        raise InputError(
            f"{path} cannot be written ({reason}); what was there is as it was, "
            "make room or name another folder, and give the command again"
        ) from error


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

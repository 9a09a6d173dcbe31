"""Files that are whole or absent: written beside their name and moved onto it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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
            os.fchmod(file.fileno(), 0o666 & ~_mask())  # as any new file, not for its owner alone
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


def _mask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask

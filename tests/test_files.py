"""A file is whole or absent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.files import replacing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "file.json"


def test_any_file_is_replaced_whole_or_not_at_all(path: Path) -> None:
    with replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as file:
        file.write(b"second")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_one_line(path: Path, quota: Callable[[int], AbstractContextManager[None]]) -> None:
    refused = pytest.raises(InputError, match=r"file\.json cannot be written .*File too large.+ make room")
    with refused as raised, quota(10), replacing(path) as file:
        file.write(b"more than ten")
    assert "\n" not in str(raised.value)
    assert list(path.parent.iterdir()) == []


def test_what_is_no_fault_of_the_disk_stays_what_it_is(path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), replacing(path):
        raise RuntimeError("mine")
    assert list(path.parent.iterdir()) == []


def test_a_file_may_be_read_by_whom_any_new_file_may(path: Path) -> None:
    before = os.umask(0o027)
    try:
        with replacing(path) as file:
            file.write(b"first")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640

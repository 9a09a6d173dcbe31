"""A checkpoint is whole or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from effbench.errors import InputError
from effbench.training.checkpoint import check_same, load, save_atomic

Quota = Callable[[int], AbstractContextManager[None]]
STATE = {"step": 3, "model": {"weight": torch.arange(4.0)}, "name": "fpn"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "training.pt"


def test_what_is_saved_is_loaded(path: Path) -> None:
    save_atomic(STATE, path)
    state = load(path)
    assert (state["step"], state["name"]) == (3, "fpn")
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])


def test_nothing_but_the_file_is_left(path: Path) -> None:
    save_atomic(STATE, path)
    save_atomic({**STATE, "step": 4}, path)
    assert load(path)["step"] == 4
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_while_writing_leaves_the_old_file(path: Path) -> None:
    save_atomic(STATE, path)
    with pytest.raises(Exception, match="pickle"):
        save_atomic({"step": 4, "model": lambda: None}, path)
    assert load(path)["step"] == 3
    assert list(path.parent.iterdir()) == [path], "and no half of the new one"


def test_the_new_file_takes_the_name_when_it_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill before the last moment leaves the old file."""
    save_atomic(STATE, path)
    replace, seen = os.replace, []

    def watch(source: str, target: Path) -> None:
        seen.append((load(Path(source))["step"], load(target)["step"]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    save_atomic({**STATE, "step": 4}, path)
    assert seen == [(4, 3)]


def test_code_in_a_file_is_not_run(path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(path.parent / "evil"),)

    path.parent.mkdir()
    torch.save({"model": Evil()}, path)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        load(path)
    assert not (path.parent / "evil").exists()


# --- a disk that is full ---------------------------------------------------------------------------------------------

LARGE = {"step": 4, "model": torch.zeros(100_000)}


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_full_disk_leaves_the_old_file_and_one_line(size: int, path: Path, quota: Quota) -> None:
    """torch.save turns the system's error into one of its own, which says nothing of a disk."""
    save_atomic(STATE, path)
    refused = pytest.raises(InputError, match=r"training\.pt cannot be written .*File too large.+ make room")
    with refused as raised, quota(size):
        save_atomic(LARGE, path)
    assert "\n" not in str(raised.value)
    assert load(path)["step"] == 3
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_so_does_one_that_says_so_late(call: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save_atomic(STATE, path)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match="No space left on device"):
        save_atomic(LARGE, path)
    assert load(path)["step"] == 3
    assert list(path.parent.iterdir()) == [path]


# --- a file that is no checkpoint ------------------------------------------------------------------------------------


def assert_refused(path: Path, reason: str) -> None:
    before = path.read_bytes()
    with pytest.raises(
        InputError, match=rf"training\.pt is no whole checkpoint .*{reason}.* remove it and train"
    ) as raised:
        load(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < len(str(path)) + 300
    assert path.read_bytes() == before


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, path: Path) -> None:
    save_atomic(LARGE, path)
    os.truncate(path, int(path.stat().st_size * share))
    assert_refused(path, "not a zip file")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_one_damaged_byte_is_noticed(place: float, path: Path) -> None:
    """torch.load would give another model without a word."""
    save_atomic({"model": torch.arange(1000.0)}, path)
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)
    assert_refused(path, "damaged")


@pytest.mark.parametrize("content", [b"<html>not found</html>\n", bytes(5000)])
def test_another_file_is_refused(content: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert_refused(path, "not a zip file")


def test_something_else_that_torch_saved_is_refused(path: Path) -> None:
    path.parent.mkdir()
    torch.save([torch.zeros(3)], path)
    assert_refused(path, "it holds a list")


def test_a_file_that_is_not_there_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.pt"):
        load(path)


# --- a checkpoint of something else ----------------------------------------------------------------------------------


def test_what_differs_is_counted_and_named(path: Path) -> None:
    own = {"step": 1, "a": torch.zeros(2), "b": torch.zeros(3), **{f"own{i}": torch.zeros(1) for i in range(7)}}
    check_same(own, {name: value + 1 for name, value in own.items()}, path)
    found = {"step": 2, "a": torch.zeros(2, 1), "b": "no tensor", "new": torch.zeros(1)}
    with pytest.raises(InputError) as raised:
        check_same(own, found, path)
    message = str(raised.value)
    assert message.startswith(f"{path} is of another architecture than the model that it is for: ")
    assert (
        "7 missing (own0, own1, own2, own3, own4 and 2 more), 1 unexpected (new), 2 of another shape (a, b); "
        in message
    )
    assert message.endswith("remove it and train again") and "\n" not in message

"""A checkpoint is whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from effbench.training.checkpoint import load, save_atomic

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

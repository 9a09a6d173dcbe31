"""The writing of the embedded set: the same files from any number of processes, and after any interruption."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.data import embedded, embedded_writer
from effbench.data.embedded import embedded_root
from effbench.data.embedded_writer import write_images
from effbench.errors import InputError

COUNTS = {"train2017": 22, "val2017": 9}
TOTAL = sum(COUNTS.values())
MakeSet = Callable[..., Path]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four images; and other processes make so few, too."""
    monkeypatch.setattr(embedded_writer, "CHUNK", 4)
    monkeypatch.setattr(embedded_writer, "FEW", 0)


@pytest.fixture
def make(tmp_path: Path) -> MakeSet:
    """A set of 128 px in a cache of the test's own."""

    def call(**options: Any) -> Path:
        return embedded_root("mostly_base", 128, COUNTS, **{"cache": tmp_path, **options})

    return call


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_root("mostly_base", 128, COUNTS, cache=tmp_path_factory.mktemp("undisturbed"))


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def finished_images(unfinished: Path) -> dict[Path, int]:
    """File -> when it was written, of the images in finished chunks."""
    chunks = [file.stem.split("-") for file in (unfinished / "made").glob("*.json")]
    found = [
        unfinished / folder / f"{index + 1:012d}.{kind}"
        for split, start, stop in chunks
        for index in range(int(start), int(stop))
        for folder, kind in ((split, "jpg"), (f"panoptic_{split}", "png"))
    ]
    return {file: file.stat().st_mtime_ns for file in found}


def test_processes_write_the_same_files(make: MakeSet, undisturbed: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = make(workers=3, progress=lambda *state: calls.append(state))
    assert root.name == undisturbed.name
    assert content(root) == content(undisturbed)
    assert {file.name for file in root.iterdir()} == {
        "annotations",
        *(f"{folder}{split}" for split in COUNTS for folder in ("", "panoptic_")),
    }
    done = [state[0] for state in calls]
    assert len(done) == 9, "a report per chunk"
    assert done == sorted(set(done)) and calls[-1] == (TOTAL, TOTAL)


def test_few_images_are_made_here(make: MakeSet, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_writer, "ProcessPoolExecutor", None)
    monkeypatch.setattr(embedded_writer, "FEW", TOTAL + 1)
    assert content(make(workers=3)) == content(undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_goes_on_where_it_stopped(
    workers: int, make: MakeSet, undisturbed: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(workers=workers, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    unfinished = tmp_path / f".{undisturbed.name}.partial"
    before = finished_images(unfinished)
    found = len(before) // 2
    assert found >= 8
    if workers == 1:
        assert found == 8, "chunks of four, and the third was not ended"
        (unfinished / "train2017/000000000009.jpg").write_bytes(b"torn")

    calls: list[tuple[int, int]] = []
    root = make(progress=lambda *state: calls.append(state))
    assert calls == [(done, TOTAL) for done in range(found, TOTAL + 1)]
    assert all((root / file.relative_to(unfinished)).stat().st_mtime_ns == time for file, time in before.items())
    assert content(root) == content(undisturbed)
    assert not unfinished.exists()


KILLED = """
import sys, time
from pathlib import Path
from effbench.data import embedded_writer
from effbench.data.embedded import embedded_root

def report(done, total):
    print("some are made", flush=True)
    time.sleep(60)

if __name__ == "__main__":
    embedded_writer.CHUNK = 4
    embedded_root("base", 64, {"train2017": 300}, Path(sys.argv[1]), report, workers=2)
"""


def test_a_killed_run_leaves_no_process_that_writes_and_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and run.stdout.readline() == "some are made\n"
        run.kill()
        run.communicate(timeout=20)  # ends when no process holds the other end of the pipe any more
    (unfinished,) = tmp_path.glob(".*.partial")
    before = finished_images(unfinished)
    assert before
    calls: list[tuple[int, int]] = []
    root = embedded_root("base", 64, {"train2017": 300}, tmp_path, lambda *state: calls.append(state))
    assert calls[0] == (len(before) // 2, 300) and calls[-1] == (300, 300)
    assert all((root / file.relative_to(unfinished)).stat().st_mtime_ns == time for file, time in before.items())
    (tmp_path / "other").mkdir()
    assert content(root) == content(embedded_root("base", 64, {"train2017": 300}, tmp_path / "other"))


def test_what_goes_wrong_in_a_process_is_told_and_ends_the_others(tmp_path: Path) -> None:
    counts = {"train2017": 2000}
    unfinished = tmp_path / f".base-64px-{embedded._fingerprint('base', 64, counts)}.partial"
    (unfinished / "train2017/000000000001.jpg").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot be written there \(.*Is a directory.*EFFBENCH_CACHE"):
        embedded_root("base", 64, counts, tmp_path, workers=2)
    made = content(unfinished)
    assert len(made) < 2 * 2000, "not all the rest before the error is told"
    time.sleep(0.1)
    assert content(unfinished).keys() == made.keys(), "somebody still writes"


@pytest.mark.parametrize("size", [1, 2, 50])
def test_answers_come_in_the_order_of_the_images(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_writer, "CHUNK", size)
    counts = {"val2017": 12, "train2017": 3}
    expected = {split: [[split, index] for index in range(count)] for split, count in counts.items()}
    assert write_images(lambda *image: image, counts, tmp_path) == expected

    def forbidden(split: str, index: int) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(json, "dumps", None)
    calls: list[tuple[int, int]] = []
    assert write_images(forbidden, counts, tmp_path, progress=lambda *state: calls.append(state)) == expected
    assert calls == [(15, 15)]

"""Bad input and bad luck at the command line: one line that says what and where, exit code 2, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from effbench import cli
from effbench.study import runner
from effbench.study.record import Record, RecordBook
from effbench.study.runner import Runner, task_key
from effbench.study.suite import Task
from effbench.training.checkpoint import load, save_atomic

Call = Callable[..., Any]
Refused = Callable[..., str]
NARROW = ("--set", "dim=32", "--set", "mask_dim=32", "--queries", 6)
RECIPE = ("--steps", 1, "--batch-size", 1, "--crop", 64)


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below, the runner's empty lock apart."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# --- data ------------------------------------------------------------------------------------------------------------


def commands(folder: Path, data_root: Path) -> list[tuple[object, ...]]:
    """All that read a data root; what they write goes to `folder`."""
    return [
        ("run", "coco", "--results", folder / "out", "--data-root", data_root),
        ("run", "coco", "--results", folder / "out", "--data-root", data_root, "--dry-run"),
        ("report", "coco", "--results", folder / "out", "--data-root", data_root),
        ("train", "fpn", "--out", folder / "out", "--data-root", data_root),
    ]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("kind", ["missing", "a file", "empty", "another content"])
def test_a_data_root_that_is_none(kind: str, number: int, refused: Refused, tmp_path: Path) -> None:
    root = tmp_path / "data"
    if kind == "a file":
        root.write_text("no folder")
    elif kind != "missing":
        root.mkdir()
    if kind == "another content":
        (root / "train2017").mkdir()
        (root / "train2017/holiday.jpg").write_bytes(b"jpg")
    line = refused(*commands(tmp_path, root)[number])
    assert str(root) in line and "correct" in line
    assert "expected COCO panoptic" in line or "expected the folder of coco" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ('{"info": {}, "licenses": []}', "not in the COCO panoptic format"),
        ('{"images": [{"id', "cannot be read as JSON"),
    ],
)
def test_a_data_root_with_other_annotations(
    annotations: str, why: str, refused: Refused, photos: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    for folder in ("train2017", "panoptic_train2017"):
        (root / folder).symlink_to(photos / folder)
    file = root / "annotations/panoptic_train2017.json"
    file.write_text(annotations)
    line = refused("train", "fpn", "--out", tmp_path / "out", "--data-root", root)
    assert str(file) in line and why in line
    assert not (tmp_path / "out").exists()


def annotations_of(root: Path, split: str) -> Path:
    return root / f"annotations/panoptic_{split}2017.json"


def edit(file: Path, change: Callable[[Any], object]) -> Path:
    stated = json.loads(file.read_text())
    change(stated)
    file.write_text(json.dumps(stated))
    return file


def truncated_annotations(root: Path, split: str) -> Path:
    """Spoils a split of a data root, as the functions below do, and returns the path at fault."""
    file = annotations_of(root, split)
    os.truncate(file, file.stat().st_size // 2)
    return file


def a_missing_photo(root: Path, split: str) -> Path:
    photo = max((root / f"{split}2017").iterdir())
    photo.unlink()
    return photo


def a_missing_png(root: Path, split: str) -> Path:
    png = max((root / f"panoptic_{split}2017").iterdir())
    png.unlink()
    return png


def an_annotation_without_image(root: Path, split: str) -> Path:
    return edit(annotations_of(root, split), lambda stated: stated["images"].pop())


def an_image_without_annotation(root: Path, split: str) -> Path:
    return edit(annotations_of(root, split), lambda stated: stated["annotations"].pop())


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncated_annotations, ("cannot be read as JSON", "download it again")),
        (a_missing_photo, ("file not found", "complete the folder")),
        (a_missing_png, ("file not found", "complete the folder")),
        (an_annotation_without_image, ("annotation of image 3, which is not listed", "remove the annotation")),
        (an_image_without_annotation, ("image 3 has no annotation", "add its annotation")),
    ],
)
def test_a_broken_data_root_is_refused_before_anything_is_measured(
    spoil: Callable[[Path, str], Path],
    says: tuple[str, ...],
    split: str,
    refused: Refused,
    photos: Path,
    tmp_path: Path,
) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "data"))
    fault = spoil(root, split)
    line = refused("run", "coco", "--data-root", root, "--results", tmp_path / "results")
    for part in (str(fault), *says):
        assert part in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", [("run", "--dry-run"), ("report",)])
def test_nor_is_it_planned_for(command: tuple[str, ...], refused: Refused, photos: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "data"))
    fault = truncated_annotations(root, "val")
    name, *options = command
    assert str(fault) in refused(name, "coco", *options, "--data-root", root, "--results", tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_data_root_that_is_none_is_refused_by_eval(refused: Refused, trained: Path, tmp_path: Path) -> None:
    before = content(trained)
    line = refused("eval", trained, "--data-root", tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line and "expected COCO panoptic" in line
    assert content(trained) == before


# --- places to write -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "below", "far/below"])
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_file_in_the_place_of_a_folder(
    command: str, below: str, refused: Refused, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    if command == "run":
        line = refused("run", "coco", "--results", file / below)
    else:
        line = refused("train", "fpn", "--out", file / below, "--data-root", photos, *NARROW, *RECIPE)
    assert str(file) in line and "name a" in line
    assert content(tmp_path) == {file: b"no folder"}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_folder_that_cannot_be_made(
    command: str, number: int, refused: Refused, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions do not stop every user, so the system's answer is given by hand."""
    place, made = tmp_path / "place", Path.mkdir

    def mkdir(self: Path, *arguments: Any, **options: Any) -> None:
        if self.is_relative_to(place):
            raise OSError(number, os.strerror(number), str(self))
        made(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    if command == "run":
        line = refused("run", "coco", "--results", place)
    else:
        line = refused("train", "fpn", "--out", place, "--data-root", photos, *NARROW, *RECIPE)
    assert str(place) in line and os.strerror(number) in line
    assert not place.exists()


# --- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that fail at once: measuring them takes minutes."""

    def fail(self: Runner, unit: Sequence[Task]) -> Iterator[Record]:
        for task in unit:
            yield self._record(task, task_key(task), {"status": "failed", "reason": "told to"}, runner._Clock())

    monkeypatch.setattr(Runner, "_in_a_process", fail)


FPN = ("coco", "--system", "fpn")
"""A suite's name, and what keeps its run short."""


def records_of(results: Path) -> Path:
    (path,) = results.glob("*/coco/*/records.jsonl")
    return path


def test_a_full_disk_during_a_run(
    quick: None, effbench: Call, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        line = refused("run", *FPN, "--results", tmp_path)
    assert str(records_of(tmp_path)) in line and "No space left on device" in line and "make room" in line
    assert records_of(tmp_path).read_bytes() == b""
    answer = effbench("run", *FPN, "--results", tmp_path, "--json")
    assert answer.code == 1, "the tasks fail, but each has its record"
    outcome = json.loads(answer.out.splitlines()[-1])
    assert len(RecordBook(records_of(tmp_path)).records) == outcome["measured"] == outcome["failed"]
    assert "torn" not in answer.err


@pytest.mark.parametrize(("size", "file", "left"), [(0, "model.json", set()), (5000, "training.pt", {"model.json"})])
def test_a_full_disk_during_a_training(
    size: int,
    file: str,
    left: set[str],
    quota: Call,
    effbench: Call,
    refused: Refused,
    photos: Path,
    tmp_path: Path,
) -> None:
    command = ("train", "fpn", "--out", tmp_path / "out", "--data-root", photos, *NARROW, *RECIPE)
    with quota(size):
        line = refused(*command)
    assert f"{tmp_path / 'out' / file} cannot be written" in line and "make room" in line
    assert {path.name for path in (tmp_path / "out").iterdir()} == left
    assert effbench(*command).code == 0
    assert load(tmp_path / "out/weights.pt")


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "fpn"
    command = ("effbench", "train", "fpn", "--out", out, "--data-root", photos, *NARROW, *RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit):
            cli.main()
    return out


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """What `effbench train` has made, for the test to spoil."""
    return Path(shutil.copytree(trained_once, tmp_path / "fpn"))


def test_a_checkpoint_of_another_architecture(
    effbench: Call, refused: Refused, trained: Path, photos: Path, tmp_path: Path
) -> None:
    deformable = ("--set", "layers=1", "--set", "heads=4", "--set", "ffn_dim=32")
    other = tmp_path / "mask2former"
    command = ("train", "mask2former", "--out", other, "--data-root", photos, *NARROW, *deformable, *RECIPE)
    assert effbench(*command).code == 0
    weights = trained / "weights.pt"
    foreign = load(other / "weights.pt").keys()
    own = load(weights).keys()
    save_atomic(load(other / "weights.pt"), weights)
    before = content(trained)
    line = refused("eval", trained, "--data-root", photos)
    assert f"{weights} is of another architecture" in line
    assert f"{len(own - foreign)} missing ({min(own - foreign)}" in line
    assert f"{len(foreign - own)} unexpected ({min(foreign - own)}" in line
    assert content(trained) == before


@pytest.mark.parametrize("name", ["weights.pt", "model.json"])
def test_a_truncated_file_of_a_model(name: str, refused: Refused, trained: Path, photos: Path) -> None:
    os.truncate(trained / name, (trained / name).stat().st_size // 2)
    before = content(trained)
    line = refused("eval", trained, "--data-root", photos)
    assert str(trained / name) in line and "remove it and train again" in line
    assert content(trained) == before


@pytest.mark.parametrize("name", ["training.pt", "model.json"])
def test_a_truncated_file_of_a_training(name: str, refused: Refused, trained: Path, photos: Path) -> None:
    os.truncate(trained / name, (trained / name).stat().st_size // 2)
    before = content(trained)
    line = refused("train", "fpn", "--out", trained, "--data-root", photos, *NARROW, *RECIPE)
    assert str(trained / name) in line and "remove it and train again" in line
    assert content(trained) == before


# --- records ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_record(quick: None, effbench: Call, tmp_path: Path) -> Path:
    """The records file of a run that is over."""
    assert effbench("run", *FPN, "--results", tmp_path / "results").code == 1
    return records_of(tmp_path / "results")


def test_a_torn_last_line_is_put_aside_and_said(effbench: Call, on_record: Path, tmp_path: Path) -> None:
    whole = on_record.read_bytes()
    lines = whole.splitlines(keepends=True)
    on_record.write_bytes(whole[:-30])
    answer = effbench("run", *FPN, "--results", tmp_path / "results", "--json")
    (said,) = answer.err.splitlines()
    for part in (str(on_record), "torn", f"{len(lines[-1]) - 30} bytes", lines[-1][:30].decode(), "records.jsonl.torn"):
        assert part in said
    assert on_record.with_name("records.jsonl.torn").read_bytes() == lines[-1][:-30] + b"\n"
    outcome = json.loads(answer.out.splitlines()[-1])
    assert (outcome["measured"], outcome["measured_before"]) == (1, len(lines) - 1)
    assert len(RecordBook(on_record).records) == len(lines)


@pytest.mark.parametrize("damage", [b'{"schema": 1, "cell": {"enc', b"\xff\xfe\x00", b"null"])
@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("report",)])
def test_a_damaged_line_in_the_middle_is_named_and_left_alone(
    command: tuple[str, ...], damage: bytes, refused: Refused, on_record: Path, tmp_path: Path
) -> None:
    lines = on_record.read_bytes().splitlines(keepends=True)
    lines[1] = damage + b"\n"
    on_record.write_bytes(b"".join(lines))
    before = content(tmp_path)
    name, *options = command
    line = refused(name, *FPN, *options, "--results", tmp_path / "results")
    assert f"{on_record}, line 2 is no record" in line and "mend or remove the line" in line
    assert content(tmp_path) == before

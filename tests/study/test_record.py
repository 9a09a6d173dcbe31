"""Records: appended, whole or put aside, and never silently lost."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.study.record import SCHEMA, Record, RecordBook

MakeRecord = Callable[..., Record]
Quota = Callable[[int], AbstractContextManager[None]]

# what other programs may rely on
FIELDS = {
    *("schema", "cell", "cell_id", "probe", "probe_version", "unit", "samples", "status", "reason", "implementation"),
    *("environment", "source", "host", "commit", "dirty", "started_at"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "records.jsonl"


def test_what_is_appended_is_read_back(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    assert book.records == []
    written = [make_record(), make_record(samples=[1.0], status="failed", reason="told to fail")]
    for record in written:
        book.append(record)
    assert book.records == written
    assert RecordBook(path).records == written
    assert RecordBook(path).recovered is None


def test_one_json_object_per_line_with_the_fields_that_are_documented(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    book.append(make_record())
    book.append(make_record())
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        assert json.loads(line).keys() >= FIELDS
        assert json.loads(line)["schema"] == SCHEMA


def test_a_record_is_on_the_disk_when_append_returns(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    for count in (1, 2):
        book.append(make_record())
        assert len(RecordBook(path).records) == count


def test_nothing_is_overwritten_and_the_last_of_a_key_counts(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    book.append(make_record(status="failed"))
    book.append(make_record(probe="macs"))
    book.append(make_record(status="ok"))
    assert [r.status for r in book.records] == ["failed", "ok", "ok"]
    latest = book.latest()
    assert len(latest) == 2
    assert latest[make_record().key].status == "ok"


@pytest.mark.parametrize(
    "change",
    [
        {"cell_id": "f" * 16},
        {"probe": "macs"},
        {"probe_version": "2"},
        {"source": "0" * 16},
        {"environment": {"python": "3.12.0", "gpu": None}},
        {"host": "f" * 12},
    ],
)
def test_what_makes_two_measurements_different(change: dict, make_record: MakeRecord) -> None:
    assert make_record(**change).key != make_record().key


@pytest.mark.parametrize(
    "change",
    [{"commit": "abc", "dirty": True}, {"started_at": "2027-01-01T00:00:00+00:00"}, {"seconds": 9}, {"samples": [1]}],
)
def test_what_does_not(change: dict, make_record: MakeRecord) -> None:
    assert make_record(**change).key == make_record().key


def test_the_environments_order_does_not_matter(make_record: MakeRecord) -> None:
    assert make_record(environment={"gpu": None, "python": "3.11.2"}).key == make_record().key


@pytest.mark.parametrize("whole", [0, 1, 3])
def test_a_torn_last_line_is_put_aside_and_reported(whole: int, path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    for _ in range(whole):
        book.append(make_record())
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "cell": {"enc')
    mended = RecordBook(path)
    assert len(mended.records) == whole
    assert mended.recovered is not None
    for said in (str(path), "torn", "27 bytes", '{"schema": 1, "cell": {"enc', "records.jsonl.torn"):
        assert said in mended.recovered
    assert "\n" not in mended.recovered
    assert path.with_name("records.jsonl.torn").read_text() == '{"schema": 1, "cell": {"enc\n'
    mended.append(make_record())
    again = RecordBook(path)
    assert again.recovered is None
    assert len(again.records) == whole + 1


def test_a_line_torn_inside_a_letter_is_put_aside_too(path: Path, make_record: MakeRecord) -> None:
    RecordBook(path).append(make_record(reason="Größe"))
    with path.open("ab") as file:
        file.write('{"reason": "ö'.encode()[:-1])
    assert len(RecordBook(path).records) == 1


def test_a_message_shows_the_beginning_of_a_long_torn_line_only(path: Path, make_record: MakeRecord) -> None:
    RecordBook(path).append(make_record(reason="x" * 1000))
    path.write_bytes(path.read_bytes()[:-1])
    recovered = RecordBook(path).recovered or ""
    assert '"cell": {"encoder": "fpn"}' in recovered
    assert len(recovered) < len(str(path)) + 300


def test_a_second_torn_line_does_not_replace_the_first(path: Path, make_record: MakeRecord) -> None:
    RecordBook(path).append(make_record())
    for text in ("first", "second"):
        with path.open("a") as file:
            file.write(text)
        RecordBook(path)
    assert path.with_name("records.jsonl.torn").read_text() == "first\nsecond\n"


def test_an_unknown_schema_is_refused_and_left_alone(path: Path, make_record: MakeRecord) -> None:
    RecordBook(path).append(make_record(schema=SCHEMA + 1))
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"line 1: schema {SCHEMA + 1}, expected {SCHEMA}; move the file away"):
        RecordBook(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        *(b"not json", b"[]", b"{}", b"null", b"3", b'"schema"', b'{"schema": 1}', b"\xff\xfe", b"\0\0\0\0"),
        b'{"schema": 1, "cell": {}, "colour": "red"}',
    ],
)
def test_a_line_that_is_no_record_is_refused_by_its_number(line: bytes, path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    book.append(make_record())
    with path.open("ab") as file:
        file.write(line + b"\n")
    book.append(make_record())
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            InputError, match=r"records\.jsonl, line 2 is no record .+ mend or remove the line"
        ) as raised:
            RecordBook(path, read_only)
        assert "\n" not in str(raised.value)
    assert path.read_bytes() == before


def test_a_number_that_json_does_not_have_is_not_written(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    book.append(make_record())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        book.append(make_record(samples=[float("nan")]))
    assert path.read_bytes() == before
    assert len(book.records) == 1


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("written", [0, 1, 100])
def test_a_full_disk_leaves_no_half_of_a_line(written: int, path: Path, make_record: MakeRecord, quota: Quota) -> None:
    """The kernel takes the first bytes of the line and refuses the rest."""
    book = RecordBook(path)
    book.append(make_record())
    before = path.read_bytes()
    refused = pytest.raises(InputError, match=r"records\.jsonl: a record cannot be written .+ make room")
    with refused as raised, quota(len(before) + written):
        book.append(make_record(probe="macs"))
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before
    again = RecordBook(path)
    assert again.recovered is None
    again.append(make_record(probe="macs"))
    assert [record.probe for record in RecordBook(path).records] == ["latency", "macs"]


def test_a_record_that_does_not_reach_the_disk_is_none(
    path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems find out that they are full when they are asked to sync."""
    book = RecordBook(path)
    book.append(make_record())
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        book.append(make_record())
    assert path.read_bytes() == before
    assert len(book.records) == 1


def test_an_interrupt_while_writing_leaves_no_half_of_a_line(
    path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    book = RecordBook(path)
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        book.append(make_record())
    assert path.read_bytes() == b""


def test_where_even_shortening_fails_the_next_run_puts_the_rest_aside(
    path: Path, make_record: MakeRecord, quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(io.FileIO):
        def truncate(self, size: int | None = None) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    book = RecordBook(path)
    book.append(make_record())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode, buffering: Stubborn(self, mode))
        with pytest.raises(InputError, match="File too large"), quota(path.stat().st_size + 10):
            book.append(make_record())
    mended = RecordBook(path)
    assert len(mended.records) == 1
    assert "10 bytes" in (mended.recovered or "")

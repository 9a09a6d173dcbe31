"""Records: appended, whole or put aside, and never silently lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench.errors import InputError
from effbench.study.record import SCHEMA, Record, RecordBook

MakeRecord = Callable[..., Record]

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
    assert str(path) in mended.recovered and "torn" in mended.recovered
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
    "line", ["not json", "[]", "{}", "null", "3", '{"schema": 1}', '{"schema": 1, "cell": {}, "colour": "red"}']
)
def test_a_line_that_is_no_record_is_refused_by_its_number(line: str, path: Path, make_record: MakeRecord) -> None:
    RecordBook(path).append(make_record())
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"records\.jsonl, line 2 is no record"):
        RecordBook(path)


def test_a_number_that_json_does_not_have_is_not_written(path: Path, make_record: MakeRecord) -> None:
    book = RecordBook(path)
    book.append(make_record())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        book.append(make_record(samples=[float("nan")]))
    assert path.read_bytes() == before
    assert len(book.records) == 1

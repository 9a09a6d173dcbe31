"""Records: one JSON line per (cell, probe), appended and flushed, never overwritten."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from effbench.errors import InputError

SCHEMA = 1
FINISHED = ("ok", "skipped")
STATUSES = (*FINISHED, "failed", "out_of_memory", "invalid")
SHOWN = 60
"""Bytes of a torn line in the message about it."""


@dataclass(frozen=True)
class Record:
    """What a probe returned for a cell, with everything needed to believe it.

    Attributes:
        cell, cell_id, probe, probe_version: what was measured, and by what.
        unit, samples: raw samples in `unit`; statistics are derived from them where they are shown.
        detail: whatever else the probe reports.
        status, reason: one of `STATUSES`, and why if it is not "ok".
        implementation: which implementation of each operator ran.
        environment, host: libraries and hardware; an anonymous mark of the machine.
        source: hash of the source files that the cell runs.
        commit, dirty: of the checkout, if it is one.
        started_at, seconds: UTC start, and how long it took.
    """

    cell: Mapping[str, Any]
    cell_id: str
    probe: str
    probe_version: str
    unit: str
    samples: Sequence[float]
    status: str
    source: str
    environment: Mapping[str, Any]
    host: str
    started_at: str
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    implementation: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    schema: int = SCHEMA

    @property
    def key(self) -> Key:
        """What makes two measurements the same measurement."""
        return key(self.cell_id, self.probe, self.probe_version, self.source, self.environment, self.host)


Key = tuple[str, str, str, str, str, str]


def key(cell_id: str, probe: str, version: str, source: str, environment: Mapping[str, Any], host: str) -> Key:
    """The identity of a measurement; a finished record with this key is not measured again."""
    return cell_id, probe, version, source, json.dumps(environment, sort_keys=True), host


class RecordBook:
    """The records file of one study.

    Attributes:
        records: all records, in the order they were written.
        recovered: what was done about a torn last line, or None.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.recovered = _mend(path) if path.exists() and not read_only else None
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""  # another process may be writing
        lines = whole.split(b"\n")
        self.records = [_parse(line, path, number) for number, line in enumerate(lines, start=1) if line]

    def append(self, record: Record) -> None:
        """Write one record; it is on the disk when this returns.

        Raises InputError when it cannot be written, on a full disk for one; the file is then as it was.
        """
        line = (json.dumps(asdict(record), allow_nan=False) + "\n").encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:  # no buffer, which closing the file would try to write again
            before, written = file.seek(0, os.SEEK_END), 0
            try:
                while written < len(line):
                    written += file.write(line[written:])
                os.fsync(file.fileno())
            except BaseException as error:
                with contextlib.suppress(OSError):  # where even that fails, the next run puts the torn line aside
                    file.truncate(before)
                if not isinstance(error, OSError):
                    raise
                raise InputError(
                    f"{self.path}: a record cannot be written ({error}); those before it are whole, "
                    "make room or name another folder, and give the command again"
                ) from error
        self.records.append(record)

    def latest(self) -> dict[Key, Record]:
        """The last record of every key."""
        return {record.key: record for record in self.records}


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        data = json.loads(line)
        schema = data["schema"]
        record = Record(**data) if schema == SCHEMA else None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}, line {number} is no record ({type(error).__name__}: {error}); "
            "expected a JSON object that a run wrote, mend or remove the line"
        ) from error
    if record is None:
        raise InputError(f"{path}, line {number}: schema {schema}, expected {SCHEMA}; move the file away")
    return record


def _mend(path: Path) -> str | None:
    """Put a torn last line, which only a kill in the middle of a write leaves, aside into `<name>.torn`."""
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return None
    whole, _, torn = data.rpartition(b"\n")
    with path.with_name(path.name + ".torn").open("ab") as file:
        file.write(torn + b"\n")
    with path.open("r+b") as file:
        file.truncate(len(whole) + 1 if whole else 0)
    begins = torn[:SHOWN].decode(errors="replace")
    return (
        f"{path}: the last line was torn and counts as never written; its {len(torn)} bytes, which begin with "
        f"{begins!r}, were moved to {path.name}.torn"
    )

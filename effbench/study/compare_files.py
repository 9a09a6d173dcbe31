"""What a comparison reads: records of a run, or files of pytest-benchmark, as quantities with a value per process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from effbench.errors import InputError
from effbench.study.cell import label
from effbench.study.compare import COUNTS, TIMES, Quantity
from effbench.study.interleave import REPLICA
from effbench.study.record import Record, RecordBook

USUAL = {"device": "cpu", "dtype": "float32", "batch": 1}
"""Fields of a cell that its name mentions only where they are something else."""
COUNTED_IN_PARTS = ("macs", "parameters")
"""Probes all of whose detail is counts; elsewhere the detail may move from run to run."""
NO_COUNTS = ("settings", "threads")


def read_side(path: Path) -> dict[Any, Quantity]:
    """What was measured -> the quantity.

    Args:
        path: a records.jsonl, a folder with some below it, a JSON file of pytest-benchmark, or a folder of those, each
            the file of one process.

    Raises InputError for anything else.
    """
    if path.is_dir():
        books, files = sorted(path.rglob("records.jsonl")), sorted(path.glob("*.json"))
    else:
        books, files = ([], [path]) if path.suffix == ".json" else ([path], [])
    if not path.exists() or not (books or files):
        raise InputError(
            f"{path}: {'nothing to compare in it' if path.exists() else 'not found'}; expected records.jsonl, a folder "
            "of results, a JSON file of pytest-benchmark, or a folder of those"
        )
    if books:
        return from_records(record for book in books for record in RecordBook(book, read_only=True).records)
    return from_benchmarks(files)


def from_records(records: Iterator[Record]) -> dict[Any, Quantity]:
    """Each record is a process; replicas of a cell (effbench/study/interleave.py) are one quantity.

    Of a cell and probe the records of the latest source, environment and version count. Skipped records and units that
    are neither time nor count (such as a quality) are left out.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status != "skipped":
            groups.setdefault((_cell(record), record.probe), []).append(record)
    side: dict[Any, Quantity] = {}
    for (cell, probe), group in groups.items():
        latest = [record for record in group if record.key[1:] == group[-1].key[1:]]
        key = cell, probe, group[-1].probe_version
        measured = [record for record in latest if record.status == "ok"]
        if not measured:
            side[key, ""] = Quantity(_name(group[-1]), "", [], lost=f"{group[-1].status}: {group[-1].reason}")
        elif measured[0].unit in TIMES:
            values = [(float(np.median(r.samples)), r.started_at) for r in measured]
            side[key, ""] = _quantity(measured[0], "", values)
        elif measured[0].unit in COUNTS:
            counts = [(part, value, r.started_at) for r in measured for part, value in _counts(r)]
            for part in dict.fromkeys(part for part, _, _ in counts):
                side[key, part] = _quantity(measured[0], part, [(value, at) for p, value, at in counts if p == part])
    return side


def _quantity(record: Record, part: str, values: list[tuple[float, str]]) -> Quantity:
    threads = {"threads": record.detail["threads"]} if "threads" in record.detail else {}
    return Quantity(
        " ".join(filter(None, (_name(record), part))),
        record.unit,
        [value for value, _ in values],
        [at for _, at in values],
        {**record.environment, "host": record.host, **threads},
        str(record.cell.get("device", "cpu")).partition(":")[0],
        record.implementation,
    )


def _cell(record: Record) -> str:
    """The cell as text, the same for its replicas."""
    options = {name: value for name, value in record.cell.get("options", {}).items() if name != REPLICA}
    return json.dumps({**record.cell, "options": options}, sort_keys=True)


def _name(record: Record) -> str:
    cell = record.cell
    system = label(cell["encoder"], {**cell.get("settings", {}), **cell.get("width", {})})
    unusual = [f"{name} {cell[name]}" for name, usual in USUAL.items() if cell.get(name, usual) != usual]
    place = [f"{word} {cell[name]}" for word, name in (("on", "backbone"), ("at", "size")) if name in cell]
    return " ".join([system, *place, *unusual]) + f": {record.probe}"


def _counts(record: Record) -> Iterator[tuple[str, float]]:
    """("", the sample) and, of a probe that counts in parts, each part."""
    yield from (("", value) for value in record.samples)
    if record.probe in COUNTED_IN_PARTS:
        yield from _leaves(record.detail)


def _leaves(detail: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in detail.items():
        if isinstance(value, Mapping) and name not in NO_COUNTS:
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and name not in NO_COUNTS:
            yield f"{prefix}{name}", value


def from_benchmarks(files: list[Path]) -> dict[Any, Quantity]:
    """Each file of pytest-benchmark is a process; a benchmark's median is its value.

    `extra_info["counts"]`, unit -> number, are counts of the same benchmark; `extra_info["device"]` is where it ran.
    """
    side: dict[Any, Quantity] = {}
    for file in files:
        try:
            content = json.loads(file.read_text())
            environment, at = _steady(content["machine_info"]), content["datetime"]
            for benchmark in content["benchmarks"]:
                name, extra = benchmark["fullname"], benchmark.get("extra_info", {})
                device = extra.get("device", "cpu")
                for unit, value in {"s": benchmark["stats"]["median"], **extra.get("counts", {})}.items():
                    known = side.get((name, unit), Quantity(name, unit, [], [], environment, device))
                    if known.environment != environment:
                        raise InputError(f"{file} was measured in another environment than the files beside it")
                    values, started = [*known.values, value], [*known.started, at]
                    side[name, unit] = Quantity(name, unit, values, started, environment, device)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file} is no file of pytest-benchmark ({type(error).__name__}: {error}); expected what its option "
                "--benchmark-json writes"
            ) from error
    return side


def _steady(machine: Mapping[str, Any]) -> dict[str, Any]:
    """What pytest-benchmark says of the machine, without the clock of the moment, which is never the same twice."""
    info = dict(machine)
    if isinstance(info.get("cpu"), Mapping):
        info["cpu"] = {name: value for name, value in info["cpu"].items() if not name.startswith("hz_actual")}
    return info

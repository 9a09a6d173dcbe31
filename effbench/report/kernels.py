"""The part of a report that is about the operator alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from effbench.report import kernel_figures
from effbench.report.markdown import section
from effbench.report.table import places
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.statistics import across_processes

FIGURE = "kernels.png"
OURS = ("cpu", "triton")
"""What is held against the best of all others, PyTorch's ways among them."""
MICRO, GIGA = 1e6, 1e9


@dataclass(frozen=True)
class Row:
    """One implementation on one call.

    Attributes:
        call: what is computed, in words; of one `call` and `op`, implementations are compared.
        op, direction, name: "plain" or "fused", the direction, and whose it is.
        scope: what of it is the implementation's own.
        seconds: temperature -> median of the processes' medians; without what failed.
        host: seconds by the host's clock as well, of the first temperature.
        bytes, rows, ceilings: as the probe has them.
        others: cores that other processes kept busy meanwhile, where that matters; None on a GPU.
    """

    call: str
    op: str
    direction: str
    name: str
    scope: str
    seconds: Mapping[str, float]
    host: float
    bytes: Mapping[str, int]
    rows: Mapping[str, int]
    ceilings: Mapping[str, float]
    others: float | None

    @property
    def first(self) -> float:
        """Seconds at the temperature that was measured first."""
        return next(iter(self.seconds.values()))

    @property
    def bound(self) -> float | None:
        """Seconds of its bytes or of its rows alone, whichever is more; None where rows have no rate.

        Compulsory bytes at the rate of a copy; rows at the rates of nearby ones and of additions, one after the other.
        """
        if "rows_near" not in self.ceilings:
            return None
        gathered = self.rows["gathered"] / self.ceilings["rows_near"]
        added = self.rows["added"] / self.ceilings["rows_added"]
        return max(self.bytes["compulsory"] / self.ceilings["copy"], gathered + added)


def sections(records: Sequence[Record], folder: Path) -> list[str]:
    """Markdown of what was measured of the operator, with a figure in `folder`; of other studies nothing.

    `records` are the last ones of their tasks, those that are wrong included.
    """
    rows = list(timed(records))
    points = [(row.direction, row.call, f"{row.name} ({row.scope})", MICRO * row.first) for row in rows]
    drawn = kernel_figures.draw(points, folder / FIGURE)
    return [
        f"![Time of the operator by implementation]({FIGURE})" if drawn else "",
        *section(
            "The operator alone",
            "Median us of a call. `plain` starts from locations and weights. `fused` starts from offsets and logits; "
            "where the implementation is not fused, PyTorch computes locations and softmax around it (`chain`). "
            "Compulsory bytes are every argument once and every result once; their rate is held against that of a "
            "copy in the same process. Gathered bytes are four pixels of every sample (and in a backward as many "
            "additions): caches serve most of them, so that their rate may pass any ceiling. `bound`, on a GPU, is the "
            "time of the compulsory bytes at the rate of a copy, or, if longer, of the rows of channels at the rates "
            "at which kernels of little else gathered nearby ones and added to any. `/ best peer` is the "
            f"time over that of the fastest implementation that is not ours ({', '.join(OURS)}) on the same inputs. "
            "Where other processes kept cores busy (`cores of others`), what runs on all cores waits for them again "
            "and again.",
            times_table(rows),
        ),
        *section(
            "Right or wrong",
            "Largest |difference| / (|truth| + rms of the truth) against the reference in float64 on the same rounded "
            "inputs, of the queries that were checked. What is above its limit is wrong and has no time. Gradients of "
            "locations are in pixels, and not compared within 0.001 px of a grid line, where they jump.",
            accuracy_table(records),
        ),
        *section("Copies in the same processes", "GB/s, read and written, lowest to highest.", ceilings_table(rows)),
        *section(
            "Rows in the same processes",
            "Billions of rows per second, lowest to highest: gathered by neighbours from the same 64, gathered from "
            "anywhere in a table as large as the value, and added to anywhere in float32.",
            rows_table(rows),
        ),
    ]


def timed(records: Sequence[Record]) -> Iterator[Row]:
    """Those that have times, in the order of the records; replicas as one."""
    for place in places(r for r in records if r.probe == "kernel" and r.status == "ok"):
        cell, detail = Cell.from_json(place[0].cell), place[0].detail
        options = cell.options
        seconds = {
            temperature: _median(place, temperature, found["clock"])
            for temperature, found in detail["times"].items()
            if "failed" not in found
        }
        yield Row(
            call(cell),
            options["op"],
            options["direction"],
            options["implementation"],
            detail["scope"],
            seconds,
            _median(place, options["temperatures"][0], "host"),
            detail["bytes"],
            detail.get("rows", {}),
            detail["ceilings"],
            _others(place) if cell.device == "cpu" else None,
        )


def call(cell: Cell) -> str:
    """What is computed, in words."""
    return (
        f"{cell.dataset} {cell.size}, batch {cell.batch}, {cell.dtype}, Q={cell.queries}, {cell.options['locations']}"
    )


def times_table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row for every call, operator, direction and implementation; fastest first within one comparison."""
    shown = []
    order = {key: place for place, key in enumerate(dict.fromkeys(_compared(row) for row in rows))}
    for row in sorted(rows, key=lambda row: (order[_compared(row)], row.first)):
        rate = {kind: size / row.first for kind, size in row.bytes.items()}
        best = best_peer(row, rows)
        shown.append(
            {
                "call": row.call,
                "operator": f"{row.op} {row.direction}",
                "implementation": row.name + (" (chain)" if row.scope == "chain" else ""),
                **{f"{temperature}, us": f"{MICRO * seconds:.1f}" for temperature, seconds in row.seconds.items()},
                "host / device": f"{row.host / row.first:.2f}" if row.host != row.first else "-",
                "GB/s": f"{rate['compulsory'] / GIGA:.1f}",
                "of a copy": f"{100 * rate['compulsory'] / row.ceilings['copy']:.1f}%",
                "gathered GB/s": f"{rate['gathered'] / GIGA:.1f}",
                **(
                    {}
                    if row.bound is None
                    else {"bound, us": f"{MICRO * row.bound:.1f}", "of bound": f"{100 * row.bound / row.first:.0f}%"}
                ),
                "/ best peer": f"{row.first / best.first:.2f} ({best.name})" if best and row.name in OURS else "-",
                **({} if row.others is None else {"cores of others": f"{row.others:.1f}"}),
            }
        )
    return pd.DataFrame(shown).fillna("-")


def best_peer(row: Row, rows: Sequence[Row]) -> Row | None:
    """The fastest on the same comparison that is not ours, or None."""
    peers = [other for other in rows if _compared(other) == _compared(row) and other.name not in OURS]
    return min(peers, key=lambda other: other.first, default=None)


def accuracy_table(records: Sequence[Record]) -> pd.DataFrame:
    """Errors beside their limits, of everything that was checked, wrong or right."""
    rows = []
    for record in records:
        if record.probe != "kernel" or "accuracy" not in record.detail:
            continue
        cell, found = Cell.from_json(record.cell), record.detail["accuracy"]
        rows.append(
            {
                "call": call(cell),
                "operator": f"{cell.options['op']} {cell.options['direction']}",
                "implementation": cell.options["implementation"],
                "": "right" if all(one["right"] for one in found.values()) else "**wrong**",
                **{_TITLES[name]: _shown(one) for name, one in found.items()},
            }
        )
    return pd.DataFrame(rows).fillna("-")


def ceilings_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Of a large buffer, and of one as large as the value, again and again; by the size of the value."""
    found: dict[str, list[float]] = {}
    for row in rows:
        found.setdefault("larger than caches", []).append(row.ceilings["copy"])
        found.setdefault(f"as large as the value of {row.call.split(', Q=')[0]}", []).append(
            row.ceilings["cached_copy"]
        )
    return pd.DataFrame(
        {"copy of a buffer": title, "GB/s": f"{min(own) / GIGA:.1f} to {max(own) / GIGA:.1f}", "cells": len(own)}
        for title, own in found.items()
    )


def rows_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rates of rows by the call's image, batch and dtype; empty where none was measured."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        if "rows_near" in row.ceilings:
            found.setdefault(row.call.split(", Q=")[0], []).append(row.ceilings)
    titles = {"rows_near": "gathered, near", "rows_far": "gathered, far", "rows_added": "added"}
    return pd.DataFrame(
        {"value": call, **{title: _range([c[name] for c in own]) for name, title in titles.items()}, "cells": len(own)}
        for call, own in found.items()
    )


def _range(rates: Sequence[float]) -> str:
    return f"{min(rates) / GIGA:.1f} to {max(rates) / GIGA:.1f}"


_TITLES = {
    "output": "output",
    "value": "d value",
    "locations": "d locations",
    "offsets": "d locations",
    "weights": "d weights",
    "logits": "d weights",
}


def _shown(one: Mapping[str, Any]) -> str:
    error = "no number" if one["error"] is None else f"{one['error']:.1e}"
    return f"{error} (at most {one['tolerance']:.1e})"


def _compared(row: Row) -> tuple[str, str, str]:
    return row.call, row.op, row.direction


def _others(place: Sequence[Record]) -> float | None:
    known = [load["other_cores"] for record in place if (load := record.detail["load"])["other_cores"] is not None]
    return max(known, default=None)


def _median(place: Sequence[Record], temperature: str, clock: str) -> float:
    return across_processes([record.detail["times"][temperature][clock] for record in place]).median

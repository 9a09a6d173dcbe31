"""A study's cost tables: where the time of a pass goes, what bounds it, and its memory and energy.

What several fresh processes measured of one cell is one row: the mean of theirs, with their number beside. Times,
bytes and passes are of a whole batch, joules are per image. Records are the last ones of their tasks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import pandas as pd

from effbench.probes.mac_count import PARTS
from effbench.probes.whole_pass import COMPONENTS
from effbench.report.table import model_names
from effbench.study.cell import Cell
from effbench.study.interleave import unreplicated
from effbench.study.record import Record

GIGA, MEGA, MILLI = 1e9, 1e6, 1e-3


def where_time_goes(records: Sequence[Record]) -> pd.DataFrame:
    """Mean ms of each component in one pass with boundaries, and how far they account for it.

    "sum / pass" is what the components cover of their own pass, then of the mean pass without boundaries, and the
    boundaries' cost is what they add to a pass, at the median. "passes" are those without boundaries; with, as many.
    """
    rows = []
    for cell, found in _by_cell(records, "components"):
        mean = {name: _mean(found, "mean_s", name) for name in (*COMPONENTS, "whole")}
        rows.append(
            {
                **_names(cell),
                **{f"{name.replace('_', '-')}, ms": f"{mean[name] / MILLI:.2f}" for name in COMPONENTS},
                "pass, ms": f"{mean['whole'] / MILLI:.2f}",
                "encoder's share, %": _percent(mean["encoder"] / mean["whole"]),
                "sum / pass, %": f"{100 * (1 - _mean(found, 'residual')):.2f}",
                "sum / pass without boundaries, %": _percent(_mean(found, "sum_over_whole")),
                "boundaries' cost, %": f"{100 * _mean(found, 'boundaries_cost'):+.1f}",
                "passes": str(sum(len(record.samples) for record in found)),
                "processes": str(len(found)),
            }
        )
    return pd.DataFrame(rows)


def rooflines(records: Sequence[Record]) -> pd.DataFrame:
    """What each part attains: its rates, their shares of the ceilings of `ceilings`, and which of them bounds it."""
    rows = []
    for cell, found in _by_cell(records, "components"):
        for part in PARTS:
            rate = {name: _mean(found, "roofline", part, f"{name}_per_s") / GIGA for name in ("mac", "byte")}
            share = {name: _mean(found, "roofline", part, f"{name}_share") for name in ("mac", "byte")}
            rows.append(
                {
                    **_names(cell),
                    "part": part,
                    "GMAC/s": f"{rate['mac']:.1f}",
                    "GB/s": f"{rate['byte']:.1f}",
                    "of MAC ceiling, %": _percent(share["mac"]),
                    "of byte ceiling, %": _percent(share["byte"]),
                    "bound": _distinct(record.detail["roofline"][part]["bound"] for record in found),
                    "processes": str(len(found)),
                }
            )
    return pd.DataFrame(rows)


def ceilings(records: Sequence[Record]) -> pd.DataFrame:
    """What each device attains in a product or convolution, and in a copy: median and range over all processes.

    Every share in `rooflines` is of the ceiling that its own process has measured; the range says how far these differ.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for cell, found in _by_cell(records, "components"):
        groups.setdefault((cell.device, cell.precision), []).extend(found)
    rows = []
    for (device, precision), found in groups.items():
        row = {"device": device, "precision": precision}
        for title, name in (("GMAC/s", "mac_per_s"), ("GB/s", "byte_per_s")):
            rates = [record.detail["roofline"]["ceilings"][name] / GIGA for record in found]
            row[title] = f"{statistics.median(rates):.1f}"
            row[f"{title}, range"] = _range(rates, 1)
        operators = _distinct(record.detail["roofline"]["ceilings"]["operator"] for record in found)
        rows.append({**row, "GMAC/s are of a": operators, "processes": str(len(found))})
    return pd.DataFrame(rows)


def memory_table(records: Sequence[Record]) -> pd.DataFrame:
    """Peak MB (1e6 bytes) above the weights, of the encoder alone and of the whole pass; the weights' MB beside.

    "reserved" is what CUDA's caching allocator took from the device; the column is there where a record has it.
    """
    rows = []
    for cell, found in _by_cell(records, "memory"):
        weights = {part: _mean(found, "weights", part) for part in PARTS}
        row = {
            **_names(cell),
            "encoder's own peak, MB": _mb(_mean(found, "components", "encoder", "own")),
            "whole pass' peak, MB": _mb(_mean(found, "whole")),
            "peak is in": _distinct(_peak_in(record) for record in found),
            "encoder's weights, MB": _mb(weights["encoder"]),
            "all weights, MB": _mb(sum(weights.values())),
            "counted by": _distinct(record.detail["counts"] for record in found),
            "processes": str(len(found)),
        }
        if all("reserved" in record.detail for record in found):
            row["reserved, MB"] = _mb(_mean(found, "reserved"))
        rows.append(row)
    return pd.DataFrame(rows).fillna("-")


def energy_table(records: Sequence[Record]) -> pd.DataFrame:
    """Joules per image above those of an idle device: mean of the windows, and the lowest and highest of them."""
    rows = []
    for cell, found in _by_cell(records, "energy"):
        windows = [joules for record in found for joules in record.samples]
        rows.append(
            {
                **_names(cell),
                "J per image": f"{statistics.fmean(statistics.fmean(record.samples) for record in found):.3f}",
                "range, J": _range(windows, 3),
                "idle, W": f"{_mean(found, 'idle_w'):.1f}",
                "windows": str(len(windows)),
                "meter": _distinct(record.detail["meter"] for record in found),
                "processes": str(len(found)),
            }
        )
    return pd.DataFrame(rows)


def _by_cell(records: Sequence[Record], probe: str) -> list[tuple[Cell, list[Record]]]:
    """Each cell with the probe's records of its replicas: of one environment and machine, others are apart."""
    groups: dict[tuple[str, ...], tuple[Cell, list[Record]]] = {}
    for record in records:
        if record.probe == probe and record.status == "ok":
            cell = unreplicated(Cell.from_json(record.cell))
            where = (cell.id, str(sorted(record.environment.items())), record.host)
            groups.setdefault(where, (cell, []))[1].append(record)
    return list(groups.values())


def _names(cell: Cell) -> dict[str, str]:
    """The columns that say which model a row is of, and how it ran."""
    return {**model_names(cell), "input": cell.size, "device": cell.device, "conditions": cell.conditions}


def _mean(records: Sequence[Record], *path: str) -> float:
    """Mean over the records of the number at the end of `path` in their detail."""
    return statistics.fmean(_at(record, path) for record in records)


def _at(record: Record, path: Sequence[str]) -> float:
    value = record.detail[path[0]]
    for name in path[1:]:
        value = value[name]
    return float(value)


def _peak_in(record: Record) -> str:
    """The component in which the whole pass has its peak."""
    components = record.detail["components"]
    return max(components, key=lambda name: float(components[name]["whole"])).replace("_", "-")


def _distinct(values: Iterable[str]) -> str:
    """What the processes say, once where they agree."""
    return ", ".join(dict.fromkeys(values))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _mb(size: float) -> str:
    return f"{size / MEGA:.2f}"


def _range(values: Sequence[float], digits: int) -> str:
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"

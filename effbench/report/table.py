"""The study's table: one row per system, every number from a record."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from effbench.study.cell import Cell
from effbench.study.interleave import replica, unreplicated
from effbench.study.record import Record
from effbench.study.statistics import LEAST_SAMPLES, across_processes, licensed, spread
from effbench.study.suite import Column, Plan, Published, Task

GIGA = 1e9

Place = Sequence[Record]
"""The records behind one number: one cell, measured in several processes or trained with several seeds."""


def measured(records: Iterable[Record], probe: str) -> list[Record]:
    """The records of `probe` that hold a number."""
    return [record for record in records if record.probe == probe and record.status == "ok"]


def value_of(column: Column, place: Place) -> float:
    """What the records say for the column, in the column's unit.

    The median of the processes' medians, a percentile or mean of all their samples, or the mean of what the details
    say. NaN for a percentile of too few samples.
    """
    samples = [record.samples for record in place]
    pooled = [sample for own in samples for sample in own]
    if column.value == "p50":
        few = any(len(own) < LEAST_SAMPLES[50] for own in samples)
        return math.nan if few else column.scale * across_processes(samples).median
    if column.value == "mean":
        return column.scale * statistics.fmean(pooled)
    if column.value == "p90":
        return column.scale * licensed(pooled).get(90, math.nan)
    return column.scale * statistics.fmean(_detail(column, record) for record in place)


def _detail(column: Column, record: Record) -> float:
    value: Any = record.detail
    for name in column.value.split("."):
        value = value[name]
    return float(value)


def ratios(column: Column, filled: Mapping[str, Place], baseline: str) -> dict[str, list[float]]:
    """system -> its ratio to the baseline in every round: between records of one environment and machine alone."""
    bases = {_round(record): record for record in filled.get(baseline, ())}
    found = {}
    for name, place in filled.items():
        pairs = [(record, bases[_round(record)]) for record in place if _round(record) in bases]
        if pairs:
            found[name] = [value_of(column, [own]) / value_of(column, [base]) for own, base in pairs]
    return found


def _round(record: Record) -> tuple[Any, ...]:
    return *replica(Cell.from_json(record.cell)), str(sorted(record.environment.items())), record.host


def _fills(column: Column, record: Record) -> bool:
    cell = record.cell
    return (
        record.status == "ok"
        and record.probe == column.probe
        and bool(cell["width"]) == column.narrow
        and column.size in (None, cell["size"])
        and column.backbone in (None, cell["backbone"])
        and column.conditions in (None, Cell.from_json(cell).conditions)
    )


def latest(records: Sequence[Record], tasks: Sequence[Task]) -> list[Record]:
    """The last record of each task, in the tasks' order; tasks without one are left out."""
    last = {(record.cell_id, record.probe): record for record in records}
    keys = [(task.cell.id, task.probe) for task in tasks]
    return [last[key] for key in keys if key in last]


def complete(records: Sequence[Record], tasks: Sequence[Task]) -> list[Record]:
    """Those of `records` whose cell has all of its processes or seeds measured, alike: what a number may be made of.

    Alike is what the newest of them is: of the same sources, libraries and machine.
    """
    wanted = Counter((task.probe, unreplicated(task.cell).id) for task in tasks)
    kept: set[int] = set()
    for place in places(record for record in records if record.status == "ok"):
        newest = max(place, key=lambda record: record.started_at)
        alike = [record for record in place if record.key[2:] == newest.key[2:]]
        if len(alike) == wanted[newest.probe, unreplicated(Cell.from_json(newest.cell)).id]:
            kept |= {id(record) for record in alike}
    return [record for record in records if id(record) in kept]


def systems(plan: Plan) -> list[str]:
    """Systems that were asked for, in the plan's order: those with costs of their own."""
    return list(dict.fromkeys(t.cell.system for t in plan.tasks if t.probe in ("macs", "latency", "quality")))


def places(records: Iterable[Record]) -> list[Place]:
    """Records of one probe and one cell put together, in the order of their first; replicas in theirs."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.probe, unreplicated(Cell.from_json(record.cell)).id), []).append(record)
    return [sorted(place, key=lambda record: replica(Cell.from_json(record.cell))) for place in found.values()]


def filling(column: Column, records: Sequence[Record]) -> dict[str, Place]:
    """system -> the records that fill its place in a column.

    Raises ValueError where two cells would: the plan's columns do not tell them apart.
    """
    filled: dict[str, Place] = {}
    for place in places(record for record in records if _fills(column, record)):
        name = Cell.from_json(place[0].cell).system
        if name in filled:
            raise ValueError(
                f"two cells fill column {column.title!r} of {name}; give it a size, backbone or conditions"
            )
        filled[name] = place
    return filled


def main_table(records: Sequence[Record], plan: Plan, published: Sequence[Published]) -> pd.DataFrame:
    """Systems x columns as numbers, NaN where no record (or no paper) says anything.

    A ratio is the median of the rounds'. Raises ValueError as `filling` does.
    """
    names = systems(plan)
    table: dict[str, dict[str, float]] = {}
    for column in plan.columns:
        filled = filling(column, records)
        table[column.title] = {name: value_of(column, place) for name, place in filled.items()}
        if column.printed:
            table[f"{column.title.removesuffix(' GMACs')} GFLOPs printed"] = {
                name: claim.value
                for name, (record, *_) in filled.items()
                for claim in published
                if claim.metric == column.printed and _answers(record, claim)
            }
        if column.ratio:
            found = ratios(column, filled, plan.baseline)
            table[ratio_title(column.title, plan.baseline)] = {n: statistics.median(own) for n, own in found.items()}
    return pd.DataFrame(table, index=names, dtype=float)


def ratio_title(title: str, baseline: str) -> str:
    """The heading of a column's ratios to the baseline."""
    return f"{title} / {baseline}"


def _answers(record: Record, claim: Published) -> bool:
    cell = Cell.from_json(record.cell)
    return (cell.system, cell.backbone, cell.size) == (claim.system, claim.backbone, claim.size)


def formatted(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The same as text, each column with its digits; "-" where there is no number."""
    digits = {column.title: column.digits for column in columns}
    return pd.DataFrame(
        {
            title: ["-" if pd.isna(value) else f"{value:.{digits.get(title, 2)}f}" for value in frame[title]]
            for title in frame.columns
        },
        index=frame.index,
    )


def printed_table(records: Sequence[Record], published: Sequence[Published]) -> pd.DataFrame:
    """Printed GFLOPs beside our counts at the input that the paper used."""
    rows = []
    for claim in published:
        component = claim.metric.removeprefix("gmacs_")
        for record in records:
            of_whole = record.probe == "macs" and record.status == "ok" and component in record.detail["papers"]
            if of_whole and _answers(record, claim):
                ours = record.detail["papers"][component] / GIGA
                rows.append(
                    {
                        "system": claim.system,
                        "backbone": claim.backbone,
                        "input": claim.size,
                        "part": component,
                        "printed GFLOPs": f"{claim.value:.2f}",
                        "ours, GMACs": f"{ours:.2f}",
                        "difference": f"{100 * (ours / claim.value - 1):+.2f}%",
                        "source": claim.source,
                    }
                )
    return pd.DataFrame(rows)


def macs_table(records: Sequence[Record]) -> pd.DataFrame:
    """Encoder and total GMACs of the full-width models, systems x (backbone, input)."""
    rows: dict[str, dict[str, str]] = {}
    for record in _counted(records):
        cell, papers = Cell.from_json(record.cell), record.detail["papers"]
        if not cell.width:
            shown = f"{papers['encoder'] / GIGA:.2f} / {papers['total'] / GIGA:.2f}"
            rows.setdefault(cell.system, {"system": cell.system})[f"{cell.backbone}, {cell.size}"] = shown
    return pd.DataFrame(rows.values()).fillna("-")


def components_table(records: Sequence[Record]) -> pd.DataFrame:
    """GMACs by component in the papers' convention, and the complete convention's total.

    Inputs whose encoder is the last image's are left out: their components do not sum to the total.
    """
    rows = []
    for record in _counted(records):
        cell = Cell.from_json(record.cell)
        if not _of_last(cell):
            papers = {f"{name} GMACs": f"{macs / GIGA:.3f}" for name, macs in record.detail["papers"].items()}
            complete = f"{record.detail['complete']['total'] / GIGA:.3f}"
            rows.append({**model_names(cell), "input": cell.size, **papers, "total GMACs, complete": complete})
    return pd.DataFrame(rows)


def left_out_table(records: Sequence[Record]) -> pd.DataFrame:
    """GMACs that the papers' convention leaves out, an operator to a column, at the inputs of `components_table`."""
    rows = []
    for record in _counted(records):
        cell = Cell.from_json(record.cell)
        if not _of_last(cell):
            missed = {operator: f"{macs / GIGA:.3f}" for operator, macs in record.detail["left_out"].items()}
            rows.append({**model_names(cell), "input": cell.size, **missed})
    return pd.DataFrame(rows).fillna("-")


def _counted(records: Sequence[Record]) -> list[Record]:
    """Counts of whole models; those that leave at an exit have tables of their own."""
    counted = measured(records, "macs")
    return [record for record in counted if "exit" not in record.cell["options"]]


def _of_last(cell: Cell) -> bool:
    return cell.size.startswith("coco:first")


def timing_table(records: Sequence[Record]) -> pd.DataFrame:
    """What stands behind each time: device, processes, samples, spreads, canary, implementation."""
    rows = []
    for place in places(measured(records, "latency")):
        record, samples = place[0], [record.samples for record in place]
        cell, counts = Cell.from_json(record.cell), sorted({len(own) for own in samples})
        known = counts[0] >= LEAST_SAMPLES[50]
        across = across_processes(samples) if known else None
        tail = licensed([sample for own in samples for sample in own])
        details = [record.detail for record in place]
        moved = max((detail["canary"]["moved"] for detail in details), key=abs)
        flat = sum(bool(detail["warm_up_flat"]) for detail in details)
        rows.append(
            {
                **model_names(cell),
                "input": ", ".join(record.detail["sizes"]),
                "device": f"{cell.device}, {record.detail['threads']} threads",
                "conditions": cell.conditions,
                "p50, ms": f"{1000 * across.median:.2f}" if across else "-",
                "p90, ms": f"{1000 * tail[90]:.2f}" if 90 in tail else "-",
                "processes": str(len(place)),
                "samples of each": ", ".join(map(str, counts)),
                "between processes": f"{100 * across.between:.1f}%" if across and across.between is not None else "-",
                "interquartile range": f"{100 * statistics.fmean(spread(own) for own in samples):.0f}%",
                "warm-up flat": f"{flat} of {len(place)}",
                "canary moved": f"{100 * moved:+.0f}%",
                **_on_device(details),
                "operator": ", ".join(record.implementation.values()) or "PyTorch",
                "started, UTC": record.started_at.removesuffix("+00:00"),
            }
        )
    return pd.DataFrame(rows).fillna("-")


def _on_device(details: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What only a device with a clock of its own has: the host's time beside, a graph's, and throttled samples."""
    if details[0]["clock"] != "device":
        return {}
    host, device = ([sample for detail in details for sample in detail[name]] for name in ("host", "device"))
    graph = [sample for detail in details for sample in ((detail["graph"] or {}).get("device") or ())]
    waits = statistics.median(host) / statistics.median(device)
    return {
        "host / device": f"{waits:.2f}"
        + (", launch-bound" if any(detail["launch_bound"] for detail in details) else ""),
        "as a CUDA graph, ms": f"{1000 * statistics.median(graph):.2f}" if graph else "-",
        "throttled samples": str(sum(len(detail["throttled"] or ()) for detail in details)),
    }


def model_names(cell: Cell) -> dict[str, str]:
    """The columns that say which model a row is of."""
    return {"system": cell.system, "backbone": cell.backbone, "width": "narrow" if cell.width else "full"}

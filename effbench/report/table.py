"""The study's table: one row per system, every number from a record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.statistics import LEAST_SAMPLES, percentile, spread
from effbench.study.suite import Column, Plan, Published, Task

GIGA = 1e9


def value_of(column: Column, record: Record) -> float:
    """What the record says for the column, in the column's unit; NaN for a median of too few samples."""
    if column.value == "p50":
        few = len(record.samples) < LEAST_SAMPLES[50]
        return math.nan if few else column.scale * percentile(record.samples, 50)
    value: Any = record.detail
    for name in column.value.split("."):
        value = value[name]
    return column.scale * float(value)


def _fills(column: Column, record: Record) -> bool:
    cell = record.cell
    return (
        record.status == "ok"
        and record.probe == column.probe
        and bool(cell["width"]) == column.narrow
        and column.size in (None, cell["size"])
        and column.backbone in (None, cell["backbone"])
    )


def latest(records: Sequence[Record], tasks: Sequence[Task]) -> list[Record]:
    """The last record of each task, in the tasks' order; tasks without one are left out."""
    last = {(record.cell_id, record.probe): record for record in records}
    keys = [(task.cell.id, task.probe) for task in tasks]
    return [last[key] for key in keys if key in last]


def systems(plan: Plan) -> list[str]:
    """Systems that were asked for, in the plan's order: those with costs of their own."""
    return list(dict.fromkeys(t.cell.system for t in plan.tasks if t.probe in ("macs", "latency", "quality")))


def filling(column: Column, records: Sequence[Record]) -> dict[str, Record]:
    """system -> the record that fills its place in a column.

    Raises ValueError where two would: the plan's columns do not tell its cells apart.
    """
    filled: dict[str, Record] = {}
    for record in records:
        if _fills(column, record):
            name = Cell.from_json(record.cell).system
            if name in filled:
                raise ValueError(f"two records fill column {column.title!r} of {name}; give it a size or backbone")
            filled[name] = record
    return filled


def main_table(records: Sequence[Record], plan: Plan, published: Sequence[Published]) -> pd.DataFrame:
    """Systems x columns as numbers, NaN where no record (or no paper) says anything.

    A ratio is taken only between records of one environment and machine. Raises ValueError as `filling` does.
    """
    names = systems(plan)
    table: dict[str, dict[str, float]] = {}
    for column in plan.columns:
        filled = filling(column, records)
        values = {name: value_of(column, record) for name, record in filled.items()}
        table[column.title] = values
        if column.printed:
            table[f"{column.title.removesuffix(' GMACs')} GFLOPs printed"] = {
                name: claim.value
                for name, record in filled.items()
                for claim in published
                if claim.metric == column.printed and _answers(record, claim)
            }
        if column.ratio:
            base = filled.get(plan.baseline)
            table[f"{column.title} / {plan.baseline}"] = {
                name: values[name] / values[plan.baseline]
                for name, record in filled.items()
                if base and (record.environment, record.host) == (base.environment, base.host)
            }
    return pd.DataFrame(table, index=names, dtype=float)


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
            if record.probe == "macs" and record.status == "ok" and _answers(record, claim):
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
    return [record for record in records if record.probe == "macs" and record.status == "ok"]


def _of_last(cell: Cell) -> bool:
    return cell.size.startswith("coco:first")


def timing_table(records: Sequence[Record]) -> pd.DataFrame:
    """What stands behind each time: device, samples, spread, warm-up, implementation."""
    rows = []
    for record in records:
        if record.probe == "latency" and record.status == "ok":
            cell, few = Cell.from_json(record.cell), len(record.samples) < LEAST_SAMPLES[50]
            rows.append(
                {
                    **model_names(cell),
                    "input": ", ".join(record.detail["sizes"]),
                    "device": f"{cell.device}, {record.detail['threads']} threads",
                    "type": cell.dtype,
                    "p50, ms": "-" if few else f"{1000 * percentile(record.samples, 50):.2f}",
                    "samples": str(len(record.samples)),
                    "interquartile range": f"{100 * spread(record.samples):.0f}%",
                    "warm-up runs": str(len(record.detail["warm_up"])),
                    "canary moved": f"{100 * record.detail['canary']['moved']:+.0f}%",
                    "operator": ", ".join(record.implementation.values()) or "PyTorch",
                    "started, UTC": record.started_at.removesuffix("+00:00"),
                }
            )
    return pd.DataFrame(rows)


def model_names(cell: Cell) -> dict[str, str]:
    """The columns that say which model a row is of."""
    return {"system": cell.system, "backbone": cell.backbone, "width": "narrow" if cell.width else "full"}

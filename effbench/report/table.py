"""The study's table: one row per system, every number from a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from effbench.quality import ImageStats
from effbench.quality.bootstrap import bootstrap_pq, interval
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.statistics import LEAST_SAMPLES, percentile, spread
from effbench.study.suite import Plan, Published, Task

GIGA = 1e9


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        title: heading.
        probe: whose record fills it.
        applies: which cells' records do.
        value: record -> number.
        digits: after the decimal point.
        printed: metric of the published numbers that stand in the next column, or None.
        ratio: whether the ratio to the baseline stands in the next column.
    """

    title: str
    probe: str
    applies: Callable[[Cell], bool]
    value: Callable[[Record], float]
    digits: int = 1
    printed: str | None = None
    ratio: bool = False


def _full(cell: Cell) -> bool:
    return not cell.width


def _narrow(cell: Cell) -> bool:
    return bool(cell.width)


def _first(cell: Cell) -> bool:
    return _full(cell) and cell.size.startswith("coco:first")


def _macs(component: str) -> Callable[[Record], float]:
    return lambda record: record.detail["papers"][component] / GIGA


def _ms(record: Record) -> float:
    """NaN where the sample is too small for a median."""
    few = len(record.samples) < LEAST_SAMPLES[50]
    return float("nan") if few else 1000 * percentile(record.samples, 50)


def _quality(group: str, metric: str) -> Callable[[Record], float]:
    return lambda record: record.detail[group][metric]


NARROW_MACS, NARROW_MS, PQ = "narrow encoder GMACs", "narrow encoder ms", "PQ"
QUICK = (
    Column("encoder GMACs", "macs", _first, _macs("encoder"), 2, printed="gmacs_encoder"),
    Column("total GMACs", "macs", _first, _macs("total"), 2, printed="gmacs_total"),
    Column("encoder M parameters", "parameters", _full, lambda record: record.samples[0] / 1e6, 2),
    Column("encoder ms", "latency", _full, _ms, 0, ratio=True),
    Column(NARROW_MACS, "macs", _narrow, _macs("encoder"), 3),
    Column(NARROW_MS, "latency", _narrow, _ms, 1, ratio=True),
    Column(PQ, "quality", _narrow, _quality("all", "pq")),
    Column("PQ things", "quality", _narrow, _quality("things", "pq")),
    Column("PQ stuff", "quality", _narrow, _quality("stuff", "pq")),
)
SMOKE = (
    Column("encoder GMACs", "macs", _full, _macs("encoder"), 2),
    Column("total GMACs", "macs", _full, _macs("total"), 2),
    Column("encoder ms", "latency", _full, _ms, 0, ratio=True),
    Column("PQ (smoke)", "quality", _narrow, _quality("all", "pq"), 2),
    Column("PQ things (smoke)", "quality", _narrow, _quality("things", "pq"), 2),
    Column("PQ stuff (smoke)", "quality", _narrow, _quality("stuff", "pq"), 2),
)
COLUMNS: Mapping[str, Sequence[Column]] = {"quick": QUICK, "smoke": SMOKE}
LEGEND = {
    "quick": "Full width (ResNet-50, width 256): GMACs in the papers' convention at the papers' input, beside the "
    "GFLOPs that they print; encoder milliseconds are the median at 512x512. Narrow (what was trained here, 128x128): "
    "GMACs, median milliseconds and panoptic quality in percent.",
    "smoke": "Full width (ResNet-50, width 256) on the data root's photos at 800/1333: GMACs in the papers' "
    "convention, mean over all photos; median encoder milliseconds over the timed ones. The quality is a narrow "
    "model's after a few steps.",
}


def latest(records: Sequence[Record], tasks: Sequence[Task]) -> list[Record]:
    """The last record of each task, in the tasks' order; tasks without one are left out."""
    last = {(record.cell_id, record.probe): record for record in records}
    keys = [(task.cell.id, task.probe) for task in tasks]
    return [last[key] for key in keys if key in last]


def systems(plan: Plan) -> list[str]:
    """Systems that were asked for, in the plan's order: those with costs of their own."""
    return list(dict.fromkeys(t.cell.system for t in plan.tasks if t.probe in ("macs", "latency", "quality")))


def main_table(records: Sequence[Record], plan: Plan, published: Sequence[Published]) -> pd.DataFrame:
    """Systems x columns as numbers, NaN where no record (or no paper) says anything."""
    columns = COLUMNS[plan.profile]
    values: dict[str, dict[str, float]] = {name: {} for name in systems(plan)}
    for record in records:
        cell = Cell.from_json(record.cell)
        for column in columns:
            if record.status == "ok" and record.probe == column.probe and column.applies(cell):
                values[cell.system][column.title] = column.value(record)
    frame = pd.DataFrame.from_dict(values, orient="index", columns=[column.title for column in columns])
    for column in columns:
        place = frame.columns.get_loc(column.title) + 1
        if column.printed:
            said = {p.system: p.value for p in published if p.metric == column.printed}
            frame.insert(place, _printed(column), pd.Series(said).reindex(frame.index))
        if column.ratio:
            baseline = frame[column.title].get(plan.baseline, float("nan"))
            frame.insert(place, f"{column.title} / {plan.baseline}", frame[column.title] / baseline)
    return frame


def _printed(column: Column) -> str:
    return f"{column.title.removesuffix(' GMACs')} GFLOPs printed"


def formatted(frame: pd.DataFrame, profile: str) -> pd.DataFrame:
    """The same as text, each column with its digits; "-" where there is no number."""
    digits = {column.title: column.digits for column in COLUMNS[profile]}
    return pd.DataFrame(
        {
            title: ["-" if pd.isna(value) else f"{value:.{digits.get(title, 2)}f}" for value in frame[title]]
            for title in frame.columns
        },
        index=frame.index,
    )


def quality_intervals(records: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """system -> 95% bootstrap interval over the validation images of its PQ in percent."""
    intervals = {}
    for record in records:
        if record.probe == "quality" and record.status == "ok":
            images = [ImageStats.from_json(stats) for stats in record.detail["per_image"].values()]
            categories = {category for image in images for category in image}
            intervals[Cell.from_json(record.cell).system] = interval(bootstrap_pq(images, categories))
    return intervals


def quality_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ, SQ, RQ in percent of all, things and stuff, and how each number came about."""
    rows = []
    intervals = quality_intervals(records)
    for record in records:
        if record.probe == "quality" and record.status == "ok":
            detail, cell = record.detail, Cell.from_json(record.cell)
            numbers = {
                f"{metric.upper()} {group}": f"{detail[group][metric]:.1f}"
                for group in ("all", "things", "stuff")
                for metric in ("pq", "sq", "rq")
            }
            recipe = cell.options["recipe"]
            low, high = intervals[cell.system]
            made = {"95% interval of PQ over images": f"{low:.1f} to {high:.1f}"}
            made |= {"images": str(len(detail["per_image"])), "steps": str(recipe["steps"])}
            made["seed"] = str(recipe.get("seed", 0))
            rows.append({"system": cell.system, **numbers, **made, "seconds": f"{detail['seconds']['training']:.0f}"})
    return pd.DataFrame(rows)


def printed_table(records: Sequence[Record], published: Sequence[Published], size: str) -> pd.DataFrame:
    """Printed GFLOPs beside our counts at the input that the paper used."""
    counted: dict[str, Mapping[str, Any]] = {}
    for record in records:
        cell = Cell.from_json(record.cell)
        if record.probe == "macs" and record.status == "ok" and cell.size == size:
            counted[cell.system] = record.detail["papers"]
    rows = []
    for claim in published:
        if claim.system in counted:
            component = claim.metric.removeprefix("gmacs_")
            ours = counted[claim.system][component] / GIGA
            rows.append(
                {
                    "system": claim.system,
                    "part": component,
                    "printed GFLOPs": f"{claim.value:.2f}",
                    "ours, GMACs": f"{ours:.2f}",
                    "difference": f"{100 * (ours / claim.value - 1):+.2f}%",
                    "source": claim.source,
                }
            )
    return pd.DataFrame(rows)


def components_table(records: Sequence[Record], size: str) -> pd.DataFrame:
    """GMACs by component of the records counted at `size`, in both conventions' totals."""
    rows = []
    for record in records:
        cell = Cell.from_json(record.cell)
        if record.probe == "macs" and record.status == "ok" and cell.size == size and _full(cell):
            papers = {name: f"{macs / GIGA:.3f}" for name, macs in record.detail["papers"].items()}
            complete = f"{record.detail['complete']['total'] / GIGA:.3f}"
            rows.append({"system": cell.system, **papers, "total, complete convention": complete})
    return pd.DataFrame(rows)


def timing_table(records: Sequence[Record]) -> pd.DataFrame:
    """What stands behind each time: samples, spread, warm-up, implementation."""
    rows = []
    for record in records:
        if record.probe == "latency" and record.status == "ok":
            cell, median = Cell.from_json(record.cell), _ms(record)
            rows.append(
                {
                    "system": cell.system,
                    "model": "narrow" if cell.width else "full width",
                    "input": ", ".join(record.detail["sizes"]),
                    "p50, ms": "-" if pd.isna(median) else f"{median:.2f}",
                    "samples": str(len(record.samples)),
                    "interquartile range": f"{100 * spread(record.samples):.0f}%",
                    "warm-up runs": str(len(record.detail["warm_up"])),
                    "threads": str(record.detail["threads"]),
                    "operator": ", ".join(record.implementation.values()) or "PyTorch",
                }
            )
    return pd.DataFrame(rows)

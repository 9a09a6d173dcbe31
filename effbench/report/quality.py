"""A study's quality tables: every score with how it came about, and how far it may be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from effbench.quality import ImageStats, bootstrap_pq, interval, pq_difference
from effbench.report.table import model_names
from effbench.study.cell import Cell
from effbench.study.record import Record


def scored(records: Sequence[Record]) -> list[Record]:
    """The records that hold a quality."""
    return [record for record in records if record.probe == "quality" and record.status == "ok"]


def pq_interval(record: Record) -> tuple[float, float]:
    """95% bootstrap interval over the validation images of a record's PQ in percent."""
    images = list(_images(record).values())
    return interval(bootstrap_pq(images, {category for image in images for category in image}))


def _images(record: Record) -> dict[int, ImageStats]:
    return {int(image): ImageStats.from_json(stats) for image, stats in record.detail["per_image"].items()}


def quality_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ, SQ, RQ in percent of all, things and stuff, mIoU and AP, and how each number came about."""
    rows = []
    for record in scored(records):
        detail, cell = record.detail, Cell.from_json(record.cell)
        numbers = {
            f"{metric.upper()} {group}": f"{detail[group][metric]:.1f}"
            for group in ("all", "things", "stuff")
            for metric in ("pq", "sq", "rq")
        }
        low, high = pq_interval(record)
        rows.append(
            {
                **model_names(cell),
                "device": cell.device,
                **numbers,
                "mIoU_p": _number(detail, "miou", "miou"),
                "AP_p": _number(detail, "ap", "ap"),
                "95% interval of PQ over images": f"{low:.1f} to {high:.1f}",
                "images": str(len(detail["per_image"])),
                "steps": str(detail["recipe"]["steps"]),
                "seed": str(detail["recipe"]["seed"]),
                "seconds": f"{detail['seconds']['training']:.0f}",
            }
        )
    return pd.DataFrame(rows)


def size_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ and RQ in percent by the size of the segments."""
    rows = []
    for record in scored(records):
        by_size: dict[str, Any] = record.detail["by_size"]
        cells = {
            f"{metric.upper()} {size}": f"{result[metric]:.1f}" if result["categories"] else "-"
            for size, result in by_size.items()
            for metric in ("pq", "rq")
        }
        rows.append({**model_names(Cell.from_json(record.cell)), **cells})
    return pd.DataFrame(rows)


def parts_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ and RQ in percent on the further parts, over the classes that a part is about."""
    rows = []
    for record in scored(records):
        parts: dict[str, Any] = record.detail["parts"]
        cells: dict[str, str] = {}
        for part, scores in parts.items():
            found = scores["focus"]
            cells |= {f"{part}: {m.upper()}": f"{found[m]:.1f}" if found["categories"] else "-" for m in ("pq", "rq")}
        if cells:
            rows.append({**model_names(Cell.from_json(record.cell)), **cells})
    return pd.DataFrame(rows)


def difference_table(records: Sequence[Record], baseline: str) -> pd.DataFrame:
    """PQ against the baseline's on the same images, in points, with the 95% interval of the paired bootstrap."""
    found = scored(records)
    base = next((record for record in found if Cell.from_json(record.cell).system == baseline), None)
    columns = (f"PQ minus {baseline}'s", "95% interval over images", "excludes 0")
    rows: list[dict[str, str]] = []
    if base is None:
        return pd.DataFrame(rows)
    before = _images(base)
    for record in found:
        if record is base:
            continue
        names = model_names(Cell.from_json(record.cell))
        if record.detail["per_image"].keys() != base.detail["per_image"].keys():
            rows.append({**names, **dict.fromkeys(columns, "-"), columns[-1]: "scored on other images"})
            continue
        after = _images(record)
        categories = {category for image in (*before.values(), *after.values()) for category in image}
        difference = pq_difference(before, after, categories, ())["all"]
        excludes = difference.low > 0 or difference.high < 0
        rows.append(
            {
                **names,
                columns[0]: f"{difference.difference:+.1f}",
                columns[1]: f"{difference.low:+.1f} to {difference.high:+.1f}",
                columns[2]: "yes" if excludes else "no",
            }
        )
    return pd.DataFrame(rows)


def _number(detail: Any, *path: str) -> str:
    for name in path:
        if name not in detail:
            return "-"
        detail = detail[name]
    return "-" if detail is None else f"{detail:.1f}"

"""A study's quality tables: every score with how it came about, and how far it may be believed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from effbench.quality import ImageStats, bootstrap_pq, interval
from effbench.report.table import Place, model_names, places
from effbench.study.cell import Cell
from effbench.study.interleave import replica
from effbench.study.record import Record


def scored(records: Sequence[Record]) -> list[Record]:
    """The records that hold a quality."""
    return [record for record in records if record.probe == "quality" and record.status == "ok"]


def pq_interval(record: Record) -> tuple[float, float]:
    """95% bootstrap interval over the validation images of a record's PQ in percent."""
    images = list(_images(record).values())
    return interval(bootstrap_pq(images, {category for image in images for category in image}))


def pq_span(place: Place) -> tuple[float, float]:
    """What the quality of a system is drawn with: lowest and highest of its seeds, or one seed's `pq_interval`."""
    if len(place) == 1:
        return pq_interval(place[0])
    found = [record.detail["all"]["pq"] for record in place]
    return min(found), max(found)


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
                "precision": detail["recipe"].get("precision", "float32"),
                "seconds": f"{detail['seconds']['training']:.0f}",
            }
        )
    return pd.DataFrame(rows)


def size_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ and RQ in percent by the size of the segments, mean over seeds."""
    rows = []
    for place in places(scored(records)):
        cells: dict[str, str] = {}
        for size in place[0].detail["by_size"]:
            cells |= _means(size, [record.detail["by_size"][size] for record in place])
        rows.append({**model_names(Cell.from_json(place[0].cell)), **cells})
    return pd.DataFrame(rows)


def parts_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ and RQ in percent on the further parts, over the classes that a part is about, mean over seeds."""
    rows = []
    for place in places(scored(records)):
        cells: dict[str, str] = {}
        for part in place[0].detail["parts"]:
            cells |= _means(part, [record.detail["parts"][part]["focus"] for record in place], "{1}: {0}")
        if cells:
            rows.append({**model_names(Cell.from_json(place[0].cell)), **cells})
    return pd.DataFrame(rows)


def _means(name: str, found: Sequence[Any], title: str = "{0} {1}") -> dict[str, str]:
    """heading -> mean of PQ and of RQ; "-" where there were no categories."""
    return {
        title.format(metric.upper(), name): (
            f"{statistics.fmean(scores[metric] for scores in found):.1f}" if found[0]["categories"] else "-"
        )
        for metric in ("pq", "rq")
    }


def difference_table(records: Sequence[Record], baseline: str) -> pd.DataFrame:
    """PQ against the baseline's on the same images, in points, with the 95% interval of the paired bootstrap.

    Of several seeds it is the mean of their differences, each to the baseline's of the same seed.
    """
    found = places(scored(records))
    base = next((place for place in found if Cell.from_json(place[0].cell).system == baseline), None)
    columns = (f"PQ minus {baseline}'s", "95% interval over images", "excludes 0", "of each seed")
    rows: list[dict[str, str]] = []
    if base is None:
        return pd.DataFrame(rows)
    bases = {replica(Cell.from_json(record.cell)): record for record in base}
    for place in found:
        if place is base:
            continue
        names = model_names(Cell.from_json(place[0].cell))
        seeds = [(bases[seed], own) for own in place if (seed := replica(Cell.from_json(own.cell))) in bases]
        if not seeds or any(a.detail["per_image"].keys() != b.detail["per_image"].keys() for a, b in seeds):
            rows.append({**names, **dict.fromkeys(columns, "-"), columns[2]: "scored on other images"})
            continue
        own = [after.detail["all"]["pq"] - before.detail["all"]["pq"] for before, after in seeds]
        low, high = interval(np.mean([_drawn_differences(*pair) for pair in seeds], axis=0))
        rows.append(
            {
                **names,
                columns[0]: f"{statistics.fmean(own):+.1f}",
                columns[1]: f"{low:+.1f} to {high:+.1f}",
                columns[2]: "yes" if low > 0 or high < 0 else "no",
                columns[3]: ", ".join(f"{difference:+.1f}" for difference in own),
            }
        )
    return pd.DataFrame(rows)


def _drawn_differences(before: Record, after: Record) -> npt.NDArray[np.float64]:
    """PQ of `after` minus that of `before` for every bootstrap draw, which takes the same images of both."""
    pair = [_images(record) for record in (before, after)]
    categories = {category for images in pair for stats in images.values() for category in stats}
    drawn = [bootstrap_pq([images[image] for image in pair[0]], categories) for images in pair]
    return drawn[1] - drawn[0]


def _number(detail: Any, *path: str) -> str:
    for name in path:
        if name not in detail:
            return "-"
        detail = detail[name]
    return "-" if detail is None else f"{detail:.1f}"

"""Whether a study may order its systems by quality, and the order where it may."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import pandas as pd

from effbench.report.quality import scored
from effbench.report.table import places
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Ranking

LEAST_SEEDS = 2


def seeds_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ in percent of every system: mean over its seeds, lowest and highest. Best mean first."""
    found = _seeds(records)
    rows = [
        {
            "system": name,
            "PQ, mean of seeds": f"{statistics.fmean(pqs):.1f}",
            "lowest": f"{min(pqs):.1f}",
            "highest": f"{max(pqs):.1f}",
            "seeds": str(len(pqs)),
        }
        for name, pqs in sorted(found.items(), key=lambda item: -statistics.fmean(item[1]))
    ]
    return pd.DataFrame(rows)


def verdict(records: Sequence[Record], ranking: Ranking, systems: Sequence[str]) -> tuple[bool, str]:
    """Whether `systems` may be ranked, and why, in a sentence.

    They may where the mean of `ranking.strong` is above that of `ranking.plain` by more than the seeds of either lie
    apart, and every one of them has been trained with as many seeds, `LEAST_SEEDS` at least.
    """
    found = _seeds(records)
    wanted = dict.fromkeys((*systems, ranking.strong, ranking.plain))
    if missing := [name for name in wanted if name not in found]:
        return False, f"Not ranked: {', '.join(missing)} did not end with every seed."
    counts = {len(pqs) for pqs in found.values()}
    if len(counts) > 1 or min(counts) < LEAST_SEEDS:
        few = f"{min(counts)} to {max(counts)} seeds of a system"
        return False, f"Not ranked: {few}; expected as many of each, and {LEAST_SEEDS} at least."
    strong, plain = found[ranking.strong], found[ranking.plain]
    ahead = statistics.fmean(strong) - statistics.fmean(plain)
    apart = max(max(pqs) - min(pqs) for pqs in (strong, plain))
    compared = (
        f"the mean PQ of {ranking.strong} minus that of {ranking.plain} is {ahead:+.1f} points, and the seeds of "
        f"either lie up to {apart:.1f} apart"
    )
    if ahead > apart:
        return True, f"Ranked: {compared}."
    return False, (
        f"Not ranked: {compared}. A study that cannot tell these two apart says nothing of the others; the systems "
        "stand in the suite's order."
    )


def _seeds(records: Sequence[Record]) -> dict[str, list[float]]:
    """system -> PQ of each seed."""
    return {
        Cell.from_json(place[0].cell).system: [record.detail["all"]["pq"] for record in place]
        for place in places(scored(records))
    }

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


def verdict(records: Sequence[Record], ranking: Ranking) -> tuple[bool, str]:
    """Whether systems may be ranked, and why, in a sentence.

    They may where the mean of `ranking.strong` is above that of `ranking.plain` by more than either's seeds lie apart.
    """
    found = _seeds(records)
    strong, plain = found.get(ranking.strong, []), found.get(ranking.plain, [])
    if min(len(strong), len(plain)) < LEAST_SEEDS:
        return False, (
            f"Not ranked: {ranking.strong} has {len(strong)} seeds and {ranking.plain} {len(plain)}, and {LEAST_SEEDS} "
            "of each are the least that can say how much a seed matters."
        )
    ahead = statistics.fmean(strong) - statistics.fmean(plain)
    apart = max(max(pqs) - min(pqs) for pqs in (strong, plain))
    compared = (
        f"{ranking.strong} is {ahead:+.1f} points of PQ from {ranking.plain}, and the seeds of one system lie up to "
        f"{apart:.1f} apart"
    )
    if ahead > apart:
        return True, f"Ranked: {compared}."
    return False, (
        f"Not ranked: {compared}. A study that cannot tell these two apart says nothing of the others; the systems "
        "stand in its order."
    )


def _seeds(records: Sequence[Record]) -> dict[str, list[float]]:
    """system -> PQ of each seed."""
    return {
        Cell.from_json(place[0].cell).system: [record.detail["all"]["pq"] for record in place]
        for place in places(scored(records))
    }

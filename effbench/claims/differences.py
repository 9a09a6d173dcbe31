"""Verdicts on numbers that papers make of other numbers: percentages, differences, shares, speed-ups.

Each is made again from the printed cells that it speaks of, and from our counts where all systems meet the same images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from effbench.claims.context import (
    CONTRADICTED,
    EPSILON,
    INFERRED,
    NEEDS_DATA,
    NOT_COMPARABLE,
    REPRODUCED,
    Book,
    Verdict,
)
from effbench.claims.counting import LIKE_FOR_LIKE, SAME_WIDTHS, cell_of, gated
from effbench.claims.printed import COSTS, Claim

Formula = Callable[[float, float], float]

MIXED, NOT_COUNTS = "cells counted on", "cells that are not our counts"
MARGIN = 0.1
"""Points by which a percentage of printed costs may miss ours: their digits are rounded, too."""


def _percent(a: float, b: float) -> float:
    return 100 * (a / b - 1)


def _points(a: float, b: float) -> float:
    return a - b


def _share(a: float, b: float) -> float:
    return 100 * a / b


FORMULAS: Mapping[str, tuple[Formula, tuple[str, ...]]] = {
    "pct_encoder": (_percent, ("gflops_encoder",)),
    "pct_total": (_percent, ("gflops_total",)),
    "pct_gflops": (_percent, COSTS),
    "pct_fps": (_percent, ("fps",)),
    "pct_latency": (lambda a, b: _percent(b, a), ("fps",)),
    "pct_pq": (_percent, ("pq",)),
    "delta_pq": (_points, ("pq",)),
    "delta_ap_p": (_points, ("ap_p",)),
    "delta_ap": (_points, ("ap",)),
    "delta_fps": (_points, ("fps",)),
    "delta_gflops": (_points, COSTS),
    "share_pq": (_share, ("pq",)),
    "share_gpu_hours": (_share, ("gpu_hours",)),
    "speedup": (lambda a, b: a / b, ("fps",)),
}
"""metric -> what it makes of two rows (the one it is of, the one it is against), and of which cells."""


@dataclass(frozen=True)
class Made:
    """A number made again.

    Attributes:
        of: the two rows and the cell, in words.
        printed: from the printed cells; None where one of them is not printed.
        ours: from our counts over the data set's validation images; None where effbench has not both.
        margin: what the rounding of the printed cells can do to it.
    """

    of: str
    printed: float | None
    ours: float | None
    margin: float


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a claim whose metric is in `FORMULAS`, or `share_encoder`."""
    made = list(remade(book, claim))
    if not made:
        return Verdict(NOT_COMPARABLE, "the print names no two numbers that this would be of")
    ours = next((m.ours for m in made if m.ours is not None), None)
    records = tuple(book.counts.get(cell_of(c, LIKE_FOR_LIKE[c.dataset])) for c in _counted(book, claim))
    holds, reason = _holds(book, claim, made)
    shown = None if ours is None else book.shown(claim, ours)
    if not holds:
        return Verdict(CONTRADICTED, reason, shown, shown, records=records)
    wrong = next((m for m in made if m.ours is not None and not _near(book, claim, m)), None)
    if wrong is not None and claim.metric.startswith("pct") and _all(claim, made):
        inputs = _inputs(book, claim)
        why = f"{MIXED} {inputs}" if " and " in inputs else NOT_COUNTS
        say = f"{reason}, {why}: {wrong.ours:+.2f} over the same images"
        return Verdict(CONTRADICTED, say, shown, shown, records=records)
    return Verdict(_standing(book, claim), reason, shown, shown, records=records)


def remade(book: Book, claim: Claim) -> Iterator[Made]:
    """The number made again, once for each pair of rows that it may be of."""
    if claim.metric == "share_encoder":
        yield from (_of_total(book, row) for row in claim.of)
        return
    if claim.about == "mean":
        yield _mean(book, claim)
        return
    _, metrics = FORMULAS[claim.metric]
    pairs = max(len(claim.of), len(claim.against)) if claim.of and claim.against else 0
    for i in range(pairs):
        of, against = (rows[i % len(rows)] for rows in (claim.of, claim.against))
        for metric in metrics:
            yield _pair(book, claim, metric, of, against)


def _pair(book: Book, claim: Claim, metric: str, of: str, against: str) -> Made:
    formula, _ = FORMULAS[claim.metric]
    a = book.rows[of].get(metric)
    if against.startswith("{"):
        return _other_settings(book, formula, metric, of, against)
    b = book.rows[against].get(metric)
    own = "" if of == claim.row else f" of {_short(of)}"
    name = f"{_cell(metric)}{own} against {_beside(against, of)}"
    if a is None or b is None:
        return Made(name, None, None, 0.0)
    value, half = formula(a.number, b.number), [book.steps[c.id] / 2 for c in (a, b)]
    margin = sum(
        abs(moved - value) for moved in (formula(a.number + half[0], b.number), formula(a.number, b.number + half[1]))
    )
    counts = [book.alike(c, metric) if metric in COSTS else None for c in (a, b)]
    ours = formula(counts[0], counts[1]) if counts[0] is not None and counts[1] is not None else None
    return Made(name, value, ours, margin)


def _other_settings(book: Book, formula: Formula, metric: str, of: str, against: str) -> Made:
    """Against the same system with other settings, of which nothing is printed."""
    claim = book.rows[of][metric]
    changed = json.loads(against)
    shown = ", ".join(f"{name}={value}" for name, value in changed.items())
    other = replace(claim, settings={**claim.settings, **changed})
    ours, theirs = (book.alike(c, metric) for c in (claim, other))
    made = formula(ours, theirs) if ours is not None and theirs is not None else None
    return Made(f"{_cell(metric)} of {_short(of)} against {shown}", None, made, 0.0)


def _of_total(book: Book, row: str) -> Made:
    encoder, total = (book.rows[row][metric] for metric in COSTS)
    counts = [book.alike(c, c.metric) for c in (encoder, total)]
    ours = _share(counts[0], counts[1]) if counts[0] is not None and counts[1] is not None else None
    return Made(f"encoder in {_short(row)}", _share(encoder.number, total.number), ours, MARGIN)


def _mean(book: Book, claim: Claim) -> Made:
    formula, (metric, *_) = FORMULAS[claim.metric]
    cells = [book.rows[row][metric].number for row in claim.of]
    against = book.rows[claim.against[0]][metric].number
    return Made(f"mean of {len(cells)} rows", formula(sum(cells) / len(cells), against), None, 0.0)


def _short(row: str) -> str:
    """A row without its paper."""
    return row.partition("/")[2].removeprefix("text/").replace("/", " ")


def _beside(row: str, other: str) -> str:
    """A row as it is called beside another one: by its name alone, if they stand together."""
    (place, _, name), (beside, _, _) = row.rpartition("/"), other.rpartition("/")
    return name if place == beside else _short(row)


def _cell(metric: str) -> str:
    return metric.removeprefix("gflops_").replace("_", " ")


def _all(claim: Claim, made: list[Made]) -> bool:
    """Whether every pair must hold: of a bound, and where there is one; else the print does not say which it is of."""
    return ">" in claim.about or len(made) == 1


def _holds(book: Book, claim: Claim, made: list[Made]) -> tuple[bool, str]:
    """Whether the number follows from the printed cells, and the reason."""
    printed = [m for m in made if m.printed is not None]
    if not printed:
        ours = [m for m in made if m.ours is not None]
        if not ours:
            return True, "its cells are not printed"
        near = any(_near(book, claim, m) for m in ours)
        return near, f"{ours[0].ours:+.2f} by our counts ({ours[0].of}); its cells are not printed"
    told = [_follows(book, claim, m.printed) for m in printed if m.printed is not None]
    shown = ", ".join(f"{m.printed:+.2f} ({m.of})" for m in printed)
    fits = all(told) if ">" in claim.about else any(told)
    if fits and len(printed) > 1 and ">" not in claim.about:
        first = printed[told.index(True)]
        return True, f"the print does not say of what; it follows for {first.of}: {first.printed:+.2f}"
    last = fits and not _strictly(book, claim, printed[0].printed or 0.0)
    note = ", which is one in the last digit away" if last else ""
    if fits:
        return True, f"the printed cells give {shown}{note}"
    return False, f"does not follow: the printed cells give {shown}"


def _follows(book: Book, claim: Claim, value: float) -> bool:
    """To one in the last digit: papers cut as often as they round."""
    if ">" in claim.about:
        slack = book.steps[claim.id] / 2 if "~" in claim.about else 0.0
        return abs(value) >= abs(claim.number) - slack
    return abs(book.shown(claim, value) - claim.number) < book.steps[claim.id] + EPSILON


def _strictly(book: Book, claim: Claim, value: float) -> bool:
    return ">" in claim.about or book.follows(claim, book.shown(claim, value))


def _near(book: Book, claim: Claim, made: Made) -> bool:
    """Whether our number is the printed one within what rounding does to its cells."""
    ours = made.ours or 0.0
    if ">" in claim.about:
        return abs(ours) >= abs(claim.number) - made.margin
    return abs(book.shown(claim, ours) - claim.number) <= book.steps[claim.id] + max(made.margin, MARGIN)


def _counted(book: Book, claim: Claim) -> list[Claim]:
    """The printed costs behind it that we count."""
    metrics = COSTS if claim.metric == "share_encoder" else FORMULAS[claim.metric][1]
    found = [book.rows[row].get(m) for row in (*claim.of, *claim.against) if row in book.rows for m in metrics]
    kept = [c for c in found if c is not None and c.metric in COSTS and book.alike(c, c.metric) is not None]
    return list({cell_of(c, "").id: c for c in kept}.values())


def _inputs(book: Book, claim: Claim) -> str:
    return " and ".join(sorted({c.input for c in _counted(book, claim)}))


def _standing(book: Book, claim: Claim) -> str:
    """The verdict on a number that follows from its cells: as good as they are."""
    _, metrics = FORMULAS.get(claim.metric, (None, COSTS))
    rows = [book.rows[row] for row in (*claim.of, *claim.against) if row in book.rows]
    cells = [row[m] for row in rows for m in metrics if m in row]
    if not set(metrics) & set(COSTS):
        return NEEDS_DATA if "pq" in metrics or "ap_p" in metrics else NOT_COMPARABLE
    if any(gated(c) for c in cells):
        return NEEDS_DATA
    foreign = any(c.encoder in ("", INFERRED) or c.paper == "maskconver" or c.backbone in SAME_WIDTHS for c in cells)
    return NOT_COMPARABLE if foreign else REPRODUCED

"""Verdicts on numbers that papers make of other numbers: percentages, differences, speed-ups.

Each is made again from the printed cells that it speaks of, and from our counts of them.
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
from effbench.claims.costs import input_name
from effbench.claims.counting import LIKE_FOR_LIKE, SAME_WIDTHS, cell_of, gated
from effbench.claims.printed import COSTS, QUALITY, Claim
from effbench.study.record import Record

Formula = Callable[[float, float], float]

ONE_UNIT = "one unit in the last digit apart"
ALTERNATIVES = 2
"""Readings that a reason names, where the print allows many."""


def _percent(a: float, b: float) -> float:
    return 100 * (a / b - 1)


def _points(a: float, b: float) -> float:
    return a - b


def share(a: float, b: float) -> float:
    """`a` in percent of `b`."""
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
    "share_pq": (share, ("pq",)),
    "share_gpu_hours": (share, ("gpu_hours",)),
    "speedup": (lambda a, b: a / b, ("fps",)),
}
"""metric -> what it makes of two rows (the one it is of, the one it is against), and of which cells."""


@dataclass(frozen=True)
class Made:
    """A number made again.

    Attributes:
        of: the two rows and the cell, in words.
        cells: the printed ones.
        printed: from those; None where one of them is not printed.
        ours: from our counts on the images that both were counted on, else as `alike`.
        alike: from our counts over the data set's validation images; None where effbench has not both.
        margin: what it may move by, each cell being good to its last digit or to `CLOSE`, whichever is more.
    """

    of: str
    cells: tuple[Claim, ...]
    printed: float | None
    ours: float | None
    alike: float | None
    margin: float


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a claim whose metric is in `FORMULAS`."""
    made = list(remade(book, claim))
    printed = [m for m in made if m.printed is not None]
    if not made:
        return Verdict(NOT_COMPARABLE, "the print names no two numbers that this would be of")
    if not printed:
        return _unprinted(book, claim, made)
    fitting = [m for m in printed if m.printed is not None and follows(book, claim, m.printed)]
    if not fitting or (_bound(claim) and len(fitting) < len(printed)):
        return _astray(book, claim, made, printed, fitting)
    tested = [m for m in fitting if m.ours is not None]
    off = [m for m in tested if not near(book, claim, m)]
    if off and (_bound(claim) or len(off) == len(tested)):
        return _unlike(book, claim, off[0], printed)
    best = next((m for m in tested if m not in off), fitting[0])
    cells = [c for m in (fitting if _bound(claim) else [best]) for c in m.cells]
    apart = not _bound(claim) and not book.follows(claim, book.shown(claim, best.printed or 0.0))
    reason = _given(fitting if _bound(claim) else [best], len(printed)) + (f"; {ONE_UNIT}" if apart else "")
    return _of(book, claim, best, _standing(claim, cells), reason, kind="last digit" if apart else "")


def _of(book: Book, claim: Claim, made: Made | None, name: str, reason: str, kind: str = "") -> Verdict:
    """A verdict with our numbers and the records behind them."""
    if made is None or made.ours is None or made.alike is None:
        return Verdict(name, reason, kind=kind)
    ours, alike = (book.shown(claim, value) for value in (made.ours, made.alike))
    return Verdict(name, reason, ours, alike, records=records(book, made.cells), kind=kind)


def records(book: Book, cells: tuple[Claim, ...]) -> tuple[Record, ...]:
    """The counts behind printed costs: at the inputs that they were counted on, and where all are alike."""
    sizes = [(c, size) for c in cells if c.metric in COSTS for size in (c.input, LIKE_FOR_LIKE[c.dataset])]
    wanted = {cell_of(c, size).id: cell_of(c, size) for c, size in sizes}
    return tuple(book.counts.get(cell) for cell in wanted.values())


def _unprinted(book: Book, claim: Claim, made: list[Made]) -> Verdict:
    counted = [m for m in made if m.ours is not None]
    if not counted:
        return Verdict(_standing(claim, [c for m in made for c in m.cells]), "its cells are not printed")
    best = next((m for m in counted if near(book, claim, m)), counted[0])
    reason = f"{best.ours:+.2f} by our counts ({best.of}); its cells are not printed"
    if near(book, claim, best):
        return _of(book, claim, best, _standing(claim, list(best.cells)), reason)
    return _of(book, claim, best, CONTRADICTED, reason, "does not follow")


def _astray(book: Book, claim: Claim, made: list[Made], printed: list[Made], fitting: list[Made]) -> Verdict:
    """The verdict on a number that the printed cells do not give."""
    if claim.metric == "pct_pq":
        points = _points(*(c.number for c in printed[0].cells))
        if follows(book, claim, points):
            reason = f"it follows as points of PQ, not as percent: {points:+.2f} ({printed[0].of})"
            return Verdict(_standing(claim, list(printed[0].cells)), reason)
    counted = next((m for m in made if m.ours is not None), None)
    if fitting:
        failing = [m for m in printed if m not in fitting]
        reason = f"does not hold for all: the printed cells give {_listed(failing)}"
        return _of(book, claim, counted, CONTRADICTED, reason, "does not follow")
    nearest = sorted(printed, key=lambda m: abs(book.shown(claim, m.printed or 0.0) - claim.number))
    closest = ", at the closest," if len(printed) > ALTERNATIVES else ""
    reason = f"does not follow: the printed cells give{closest} {_listed(nearest)}"
    return _of(book, claim, counted, CONTRADICTED, reason, "does not follow")


def _unlike(book: Book, claim: Claim, made: Made, printed: list[Made]) -> Verdict:
    """The verdict on a number that follows from printed cells, but not from our counts."""
    given, ours = _given([made], len(printed)), made.ours or 0.0
    if any(c.encoder == INFERRED for c in made.cells):
        say = f"{given}; RT-M2F is under-specified: in the form that fits its encoder best we count {ours:+.2f}"
        return _of(book, claim, made, NOT_COMPARABLE, say)
    counted = [(c, book.cost(c, c.input, c.metric)) for c in made.cells]
    wrong = [f"{c.value}, is not what we count: {n:.2f}" for c, n in counted if n is not None and not book.agrees(c, n)]
    if wrong:
        kind, why = "cells that are not", f"one cell, {'; another, '.join(wrong)}"
        where = "by our counts"
    else:
        inputs = sorted({input_name(c.input, c.metric) for c in made.cells})
        kind, why = "mixed inputs", f"its cells were counted on different images ({' / '.join(inputs)})"
        where = "on the same images"
    if claim.metric.startswith("pct") and ours < 0:
        more = "more" if abs(ours) > abs(claim.number) else "less"
        way = f"it saves {more}: {abs(ours):.2f}%"
    else:
        way = f"it is {ours:+.2f}"
    return _of(book, claim, made, CONTRADICTED, f"{given}; {why}; {where} {way}", kind)


def remade(book: Book, claim: Claim) -> Iterator[Made]:
    """The number made again, once for each pair of rows that it may be of."""
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
    own = "" if of == claim.row else f" of {short(of)}"
    name = f"{_cell(metric)}{own} against {_beside(against, of)}"
    if a is None or b is None:
        return Made(name, tuple(c for c in (a, b) if c is not None), None, None, None, 0.0)
    alike = _counted(formula, [book.alike(c, metric) if metric in COSTS else None for c in (a, b)])
    ours = alike
    if alike is not None and a.input == b.input:
        ours = _counted(formula, [book.cost(c, c.input, metric) for c in (a, b)])
    return Made(name, (a, b), formula(a.number, b.number), ours, alike, margin(book, formula, a, b))


def _counted(formula: Formula, counts: list[float | None]) -> float | None:
    one, other = counts
    return formula(one, other) if one is not None and other is not None else None


def margin(book: Book, formula: Formula, a: Claim, b: Claim) -> float:
    """What `Made.margin` is for two printed cells."""
    value = formula(a.number, b.number)
    moved = (formula(a.number + book.slack(a), b.number), formula(a.number, b.number + book.slack(b)))
    return sum(abs(each - value) for each in moved)


def _other_settings(book: Book, formula: Formula, metric: str, of: str, against: str) -> Made:
    """Against the same system with other settings, of which nothing is printed."""
    claim = book.rows[of][metric]
    changed = json.loads(against)
    shown = ", ".join(f"{name}={value}" for name, value in changed.items())
    other = replace(claim, settings={**claim.settings, **changed})
    made = _counted(formula, [book.alike(c, metric) for c in (claim, other)])
    name = f"{_cell(metric)} of {short(of)} against {shown}"
    return Made(name, (claim,), None, made, made, 0.0)


def _mean(book: Book, claim: Claim) -> Made:
    formula, (metric, *_) = FORMULAS[claim.metric]
    cells = [book.rows[row][metric] for row in claim.of]
    against = book.rows[claim.against[0]][metric]
    value = formula(sum(c.number for c in cells) / len(cells), against.number)
    return Made(f"mean of {len(cells)} rows", (*cells, against), value, None, None, 0.0)


def short(row: str) -> str:
    """A row without its paper."""
    return row.partition("/")[2].removeprefix("text/").replace("/", " ")


def _beside(row: str, other: str) -> str:
    """A row as it is called beside another one: by its name alone, if they stand together."""
    (place, _, name), (beside, _, _) = row.rpartition("/"), other.rpartition("/")
    return name if place == beside else short(row)


def _cell(metric: str) -> str:
    return metric.removeprefix("gflops_").replace("_", " ")


def _bound(claim: Claim) -> bool:
    """Whether every pair must hold, and the number is the least that they give."""
    return ">" in claim.about


def _given(made: list[Made], pairs: int) -> str:
    if pairs > len(made):
        return f"the print does not say of what; it follows for {made[0].of}: {made[0].printed:+.2f}"
    return f"the printed cells give {', '.join(f'{m.printed:+.2f} ({m.of})' for m in made)}"


def _listed(made: list[Made]) -> str:
    return " or ".join(f"{m.printed:+.2f} ({m.of})" for m in made[:ALTERNATIVES])


def follows(book: Book, claim: Claim, value: float) -> bool:
    """Whether a value of printed cells is the number, to one unit in its last digit: papers cut as often as round."""
    if _bound(claim):
        step = book.steps[claim.id]
        slack = step / 2 if "~" in claim.about else step if claim.decimals else 0.0
        return abs(value) >= abs(claim.number) - slack - EPSILON
    return abs(book.shown(claim, value) - claim.number) <= book.steps[claim.id] + EPSILON


def near(book: Book, claim: Claim, made: Made) -> bool:
    """Whether our number is the printed one, its cells being as good as `Made.margin` says."""
    ours = made.ours or 0.0
    if _bound(claim):
        return abs(ours) >= abs(claim.number) - made.margin
    return abs(book.shown(claim, ours) - claim.number) <= book.steps[claim.id] + made.margin


def _standing(claim: Claim, cells: list[Claim]) -> str:
    """The verdict on a number that follows from its cells: as good as they are."""
    if any(not c.encoder or c.paper == "maskconver" for c in cells):
        return NOT_COMPARABLE
    _, metrics = FORMULAS[claim.metric]
    if set(metrics) & set(QUALITY):
        return NEEDS_DATA
    if not set(metrics) & set(COSTS):
        return NOT_COMPARABLE
    if any(gated(c) for c in cells):
        return NEEDS_DATA
    return NOT_COMPARABLE if any(c.encoder == INFERRED or c.backbone in SAME_WIDTHS for c in cells) else REPRODUCED

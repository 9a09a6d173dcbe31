"""What the print says against itself, found from the printed numbers; our counts say what lies behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from effbench.claims import costs, differences
from effbench.claims.context import CONTRADICTED, EPSILON, Book, Verdict
from effbench.claims.contradiction import Contradiction, agree, grouped
from effbench.claims.contradictions_of_costs import among_costs
from effbench.claims.printed import COSTS, HEADS, QUALITY, title
from effbench.claims.same import cell_key

WORDS = {"mixed inputs": differences.MIXED, "cells that are not": differences.NOT_COUNTS}
LAST_DIGIT = 1.5
"""Units of the last digit below which two values are one that was cut in one place and rounded in another."""
NAMED = 3
"""Places that are named of a number that is printed in many."""


def contradictions(book: Book, verdicts: Mapping[str, Verdict]) -> list[Contradiction]:
    """Everything found."""
    return [*_two_values(book), *_derived(book, verdicts), *_groups(book), *among_costs(book, verdicts)]


def _two_values(book: Book) -> Iterator[Contradiction]:
    asked = [c for c in book.claims if c.metric in (*COSTS, *QUALITY, "fps", "params_m")]
    asked += [c for c in book.claims if len(c.of) == 1 and len(c.against) < 2 and c.about in ("", "~")]
    keyed = [c for c in asked if cell_key(book, c) is not None]
    for group in grouped(keyed, lambda c: cell_key(book, c)):
        finest = max(c.decimals for c in group)
        votes = {c.id: sum(agree(book, c, other) for other in group) for c in group if c.decimals == finest}
        best = max(votes.values())
        winner = next(c for c in group if votes.get(c.id) == best)
        losers = [c for c in group if not agree(book, c, winner)]
        if not losers:
            continue
        tie = sum(agree(book, c, losers[0]) for c in group) >= best
        shown = []
        for number in dict.fromkeys(abs(c.number) for c in group):
            rows = list(dict.fromkeys(title(c.row) for c in group if abs(c.number) == number))
            more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
            shown.append(f"{number:g} ({'; '.join(rows[:NAMED])}{more})")
        counted_on = sorted({costs.input_name(c.input, c.metric) for c in group if c.input})
        why = f"; counted on {' / '.join(counted_on)}" if len(counted_on) > 1 else ""
        values = [abs(c.number) for c in group]
        cut = max(values) - min(values) < LAST_DIGIT * 10.0**-finest  # rounded here, cut there
        wrong = () if cut else tuple(c.id for c in (group if tie else losers))
        name = HEADS.get(group[0].metric, group[0].metric)
        says = f"{name}: {', '.join(shown)}{why}"
        yield Contradiction("two values", tuple(c.id for c in group), says, wrong)


def _derived(book: Book, verdicts: Mapping[str, Verdict]) -> Iterator[Contradiction]:
    for claim in book.claims:
        if claim.metric not in differences.FORMULAS and not claim.metric.startswith("share"):
            continue
        reason, bad = verdicts[claim.id].reason, verdicts[claim.id].verdict == CONTRADICTED
        says = f"{title(claim.id)}, {claim.about}{claim.value}: {reason}"
        if bad:
            kind = next((k for k, word in WORDS.items() if word in reason), "does not follow")
            wrong = (claim.id,) if kind == "does not follow" else ()
            yield Contradiction(kind, (claim.id,), says, wrong)
        if "one in the last digit away" in reason:
            yield Contradiction("last digit", (claim.id,), says)


def _groups(book: Book) -> Iterator[Contradiction]:
    """PQ is the mean over classes: 80 things and 53 stuff in COCO."""
    things, stuff = 80, 53
    for row in book.rows.values():
        if {"pq", "pq_thing", "pq_stuff"} <= row.keys() and row["pq"].dataset == "coco":
            pq, half = row["pq"], 10.0 ** -row["pq"].decimals / 2
            mean = (things * row["pq_thing"].number + stuff * row["pq_stuff"].number) / (things + stuff)
            if abs(mean - pq.number) > 2 * half + EPSILON:
                says = f"{title(pq.row)}: PQ {pq.value}, its {things} things and {stuff} stuff classes give {mean:.2f}"
                yield Contradiction("groups", (pq.id,), says, (pq.id,))

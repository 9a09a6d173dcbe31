"""What the print says against itself, found from the printed numbers; our counts say what lies behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from effbench.claims import costs
from effbench.claims.context import EPSILON, Book, Verdict
from effbench.claims.contradiction import Contradiction, agree, grouped
from effbench.claims.contradictions_of_costs import among_costs
from effbench.claims.printed import COSTS, FAMILY, HEADS, QUALITY, Claim, title
from effbench.claims.same import cell_key, row_key

LAST_DIGIT = 1.5
"""Units of the last digit below which two values are one that was cut in one place and rounded in another."""
NAMED = 3
"""Places that are named of a number that is printed in many."""


def contradictions(book: Book, verdicts: Mapping[str, Verdict]) -> list[Contradiction]:
    """Everything found."""
    return [
        *_two_values(book),
        *_judged(book, verdicts),
        *_groups(book),
        *_two_systems(book),
        *among_costs(book, verdicts),
    ]


def _two_values(book: Book) -> Iterator[Contradiction]:
    """How often each value is printed says nothing: papers copy one another's tables, and their own."""
    asked = [c for c in book.claims if c.metric in (*COSTS, *QUALITY, "fps", "params_m")]
    asked += [c for c in book.claims if len(c.of) == 1 and len(c.against) < 2 and c.about in ("", "~")]
    keyed = [c for c in asked if cell_key(book, c) is not None]
    for group in grouped(keyed, lambda c: cell_key(book, c)):
        if all(agree(book, one, other) for one, other in combinations(group, 2)):
            continue
        numbers = list(dict.fromkeys(abs(c.number) for c in group))
        places = {number: _places([c for c in group if abs(c.number) == number]) for number in numbers}
        counted_on = sorted({costs.input_name(c.input, c.metric) for c in group if c.input})
        why = f"; counted on {' / '.join(counted_on)}" if len(counted_on) > 1 else ""
        name = HEADS.get(group[0].metric, group[0].metric)
        shown = {number: f"{_shown(group, number)} ({places[number]})" for number in numbers}
        says = f"{name}: {', '.join(shown.values())}{why}"
        remarks = {}
        for claim in group:
            others = dict.fromkeys(abs(c.number) for c in group if not agree(book, c, claim))
            if others:
                remarks[claim.id] = f"printed elsewhere as {' and '.join(shown[number] for number in others)}"
        yield Contradiction("two values", tuple(c.id for c in group), says, _misquoted(book, group), remarks)


def _shown(group: Sequence[Claim], number: float) -> str:
    """A number with the digits that it is first printed with."""
    return f"{number:.{next(c.decimals for c in group if abs(c.number) == number)}f}"


def _places(claims: Sequence[Claim]) -> str:
    rows = list(dict.fromkeys(title(c.row) for c in claims))
    return "; ".join(rows[:NAMED]) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")


def _misquoted(book: Book, group: Sequence[Claim]) -> tuple[str, ...]:
    """Sentences that give a number otherwise than every table of their own paper; costs are counted instead."""
    finest, values = max(c.decimals for c in group), [abs(c.number) for c in group]
    if group[0].metric in COSTS or max(values) - min(values) < LAST_DIGIT * 10.0**-finest:
        return ()
    found = []
    for claim in group:
        own = [c for c in group if not c.place and _family(c) == _family(claim)]
        if claim.place and own and not any(agree(book, claim, c) for c in own):
            found.append(claim.id)
    return tuple(found)


def _family(claim: Claim) -> str:
    return FAMILY.get(claim.paper, claim.paper)


def _judged(book: Book, verdicts: Mapping[str, Verdict]) -> Iterator[Contradiction]:
    """What the verdicts on single numbers have found."""
    for claim in book.claims:
        verdict = verdicts[claim.id]
        if verdict.kind:
            says = f"{title(claim.id)}, {claim.about}{claim.value}: {verdict.proof or verdict.reason}"
            yield Contradiction(verdict.kind, (claim.id,), says)


def _groups(book: Book) -> Iterator[Contradiction]:
    """PQ is the mean over classes: 80 things and 53 stuff in COCO."""
    things, stuff = 80, 53
    for row in book.rows.values():
        if {"pq", "pq_thing", "pq_stuff"} <= row.keys() and row["pq"].dataset == "coco":
            pq, half = row["pq"], 10.0 ** -row["pq"].decimals / 2
            mean = (things * row["pq_thing"].number + stuff * row["pq_stuff"].number) / (things + stuff)
            if abs(mean - pq.number) > 2 * half + EPSILON:
                says = f"its {things} things and {stuff} stuff classes give {mean:.2f}"
                whole = f"{title(pq.row)}: PQ {pq.value}, {says}"
                yield Contradiction("groups", (pq.id,), whole, (pq.id,), {pq.id: says})


def _two_systems(book: Book) -> Iterator[Contradiction]:
    """Rows of two systems with every quality but PQ the same: one row has the other's."""
    parts = ("miou_p", "ap_p")
    whole = [row for row in book.rows.values() if {"pq", *parts} <= row.keys() and not row["pq"].place]
    values = {row["pq"].id: tuple(row[metric].number for metric in parts) for row in whole}
    for group in grouped([row["pq"] for row in whole], lambda c: (c.dataset, c.backbone, *values[c.id])):
        if len({row_key(c) for c in group}) > 1 and len({c.number for c in group}) > 1:
            same = ", ".join(f"{HEADS[m]} {book.rows[group[0].row][m].value}" for m in parts)
            rows = "; ".join(f"{title(c.row)} (PQ {c.value})" for c in group)
            ids = tuple(book.rows[c.row][m].id for c in group for m in parts)
            yield Contradiction("two systems", ids, f"{same}: {rows}")

"""What a contradiction is, of which kinds there are, and when two printings are one number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from effbench.claims.context import EPSILON, Book
from effbench.claims.printed import COSTS, QUALITY, Claim

KINDS: Mapping[str, str] = {
    "two values": "One number, printed with two values",
    "does not follow": "Percentages, differences and shares that do not follow from their cells",
    "last digit": "Numbers one unit in the last digit from what their cells give",
    "cells that are not": "Percentages and differences of which one cell is not what we count",
    "mixed inputs": "Percentages and differences of cells that were counted on different images",
    "rest": "Total minus encoder, which no encoder can change, and which changes",
    "total and encoder": "Gated rows whose total and encoder disagree",
    "same encoder": "One encoder on maps of the same widths, printed with two costs",
    "another's number": "Costs that are another row's",
    "inputs": "Costs of one column counted on several inputs, or not on the stated one",
    "two names": "Rows of two systems with the same numbers",
    "two systems": "Rows of two systems with the same mIoU and AP and another PQ",
    "wrong way": "Costs that rise where the setting should lower them",
    "slower": "Rows with fewer GFLOPs and fewer frames per second",
    "groups": "PQ that is not the mean of its things and stuff",
    "fixed exits": "Gates that give no more PQ than fixed exits of the same depth",
}
"""kind -> heading, in the order of the page."""
OBSERVATIONS = frozenset({"wrong way", "slower", "fixed exits"})
"""Kinds that are no fault of the print: it may well be so, and is worth knowing."""


@dataclass(frozen=True)
class Contradiction:
    """Numbers that cannot all be right.

    Attributes:
        kind: one of `KINDS`.
        claims: ids of all numbers that take part.
        says: in words.
        wrong: ids of those that the print itself shows wrong: by arithmetic, or by the table that a sentence quotes.
        remarks: id -> what becomes of its reason: it replaces that of one that is wrong, and follows any other's.
    """

    kind: str
    claims: tuple[str, ...]
    says: str
    wrong: tuple[str, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)


def grouped(claims: Iterable[Claim], key: Callable[[Claim], Hashable]) -> Iterator[list[Claim]]:
    """Claims of one key together, in the order of their first."""
    found: dict[Hashable, list[Claim]] = {}
    for claim in claims:
        found.setdefault(key(claim), []).append(claim)
    yield from found.values()


def agree(book: Book, one: Claim, other: Claim) -> bool:
    """Whether two printings are one number at the coarser of their digits; zeros at the end may be padding."""
    if one.metric in COSTS:
        half = max(book.steps[c.id] for c in (one, other)) / 2
        return abs(one.number - other.number) <= half + EPSILON
    least = 1 if one.metric in QUALITY else 0
    digits = min(max(len(c.value.partition(".")[2].rstrip("0")), least) for c in (one, other))
    slack = 10.0**-digits / (1 if "~" in one.about + other.about else 2)
    return abs(abs(one.number) - abs(other.number)) <= slack + EPSILON

"""One statement, wherever it is printed: a number that a paper, its abstract and its reviews repeat is one finding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from effbench.claims.context import Book
from effbench.claims.contradiction import grouped
from effbench.claims.printed import FAMILY, Claim
from effbench.claims.same import cell_key

TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}


def statements(book: Book, claims: Iterable[Claim]) -> list[list[Claim]]:
    """Claims that print one number of one thing, together, in the order of the first."""

    def key(claim: Claim) -> Hashable:
        same = cell_key(book, claim)
        return claim.id if same is None else (str(same), abs(claim.number), claim.about)

    return list(grouped(claims, key))


def places(claims: Sequence[Claim], paper: str = "") -> str:
    """Where claims stand: "Table 1; Sec 4.1; four times in the reviews"; of `paper` without its name."""
    found: Counter[str] = Counter()
    for claim in claims:
        name = claim.source if claim.paper != paper else claim.source.partition(", ")[2]
        name = re.sub(r"\bT(\d+)\b", r"Table \1", name)
        found["in the reviews" if claim.paper in FAMILY and claim.paper != paper else name] += 1
    said = []
    for name, times in found.items():
        often = TIMES.get(times, f"{times} times")
        within = name if name.startswith("in ") else f"in {name}"
        said.append(f"{often} {within}" if times > 1 else name)
    return "; ".join(said)

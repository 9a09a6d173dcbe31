"""Verdicts on the encoder's share of a model.

A row's own cells give it only where both are of the same images: under coco:firstN the encoder is that of the last
image and the total a mean. Our counts over one input say what the share is.
"""

from __future__ import annotations

from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED, Book, Verdict
from effbench.claims.costs import input_name
from effbench.claims.counting import COCO_INPUTS, LIKE_FOR_LIKE, cell_of
from effbench.claims.differences import margin, records, share, short
from effbench.claims.printed import COSTS, Claim


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a claim of `share_encoder`."""
    rows = {row: [book.rows[row][metric] for metric in COSTS] for row in claim.of}
    if ">" in claim.about:
        return _bound(book, claim, rows)
    for row, cells in rows.items():
        sizes = COCO_INPUTS if cells[0].dataset == "coco" else (LIKE_FOR_LIKE[cells[0].dataset],)
        counts = {size: _ours(book, cells, size) for size in sizes}
        size = min(counts, key=lambda each: abs(counts[each] - claim.number))
        if abs(counts[size] - claim.number) <= book.steps[claim.id] + margin(book, share, *cells):
            names = " with ".join(dict.fromkeys(input_name(size, metric) for metric in COSTS))
            say = f"{counts[size]:.2f} by our counts ({short(row)}, {names})"
            record = book.counts.get(cell_of(cells[0], size))
            return Verdict(REPRODUCED, say, counts[size], records=(record,))
    said = ", ".join(f"{share(*(c.number for c in cells)):.2f} ({short(row)})" for row, cells in rows.items())
    return Verdict(NOT_COMPARABLE, f"fits neither table nor any of our inputs; the printed cells give {said}")


def _bound(book: Book, claim: Claim, rows: dict[str, list[Claim]]) -> Verdict:
    """A share that all of the rows are said to exceed."""
    ours = {row: _ours(book, cells, LIKE_FOR_LIKE[cells[0].dataset]) for row, cells in rows.items()}
    say = "by our counts " + ", ".join(f"{value:.2f} ({short(row)})" for row, value in ours.items())
    behind = tuple(record for cells in rows.values() for record in records(book, tuple(cells)))
    least = min(ours.values())
    if least < claim.number:
        return Verdict(CONTRADICTED, say, least, least, records=behind, kind="does not follow")
    for row, cells in rows.items():
        own = share(*(c.number for c in cells))
        if own < claim.number:
            names = " with ".join(input_name(c.input, c.metric) for c in cells)
            say += f"; the printed cells of {short(row)}, {own:.2f}, mix {names}"
    return Verdict(REPRODUCED, say, least, least, records=behind)


def _ours(book: Book, cells: list[Claim], size: str) -> float:
    encoder, total = (book.cost(c, size, c.metric) or 0.0 for c in cells)
    return share(encoder, total)

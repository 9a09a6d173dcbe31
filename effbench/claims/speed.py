"""Verdicts on printed speeds: by direction within one run of ours, never by their value.

Frames per second are those of one card, one input and one program, none of which the papers state in full. What can be
held against a run of ours is which of two rows is the faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED, Book, Verdict
from effbench.claims.printed import Claim
from effbench.study.cell import Cell, tuples
from effbench.study.interleave import unreplicated
from effbench.study.record import Record
from effbench.study.statistics import AcrossProcesses, across_processes

PROBE = "components"
"""Whose samples are whole passes, from image to answer."""
CERTAIN = 2.0
"""Two systems are told apart when their times differ by more than so many standard deviations of processes.

One process has none: it cannot tell anything apart.
"""


@dataclass(frozen=True)
class Timed:
    """A system's whole pass in one of our runs: seconds over its processes, and the records."""

    time: AcrossProcesses
    records: tuple[Record, ...]


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a claim of frames per second."""
    if claim.paper == "maskconver" and claim.encoder:
        return Verdict(NOT_COMPARABLE, f"on a {claim.hardware}, beside no other model that effbench builds")
    if not claim.encoder:
        return Verdict(NOT_COMPARABLE, f"effbench does not build this {claim.system}; as printed")
    rows = [c for c in book.claims if _together(c, claim)]
    for name, records in book.runs.items():
        timed = {c.id: _timed(records, c) for c in rows}
        own = timed[claim.id]
        others = [(c, timed[c.id]) for c in rows if c.number != claim.number and timed[c.id] is not None]
        if own is not None and others:
            return _ranked(claim, own, [(c, t) for c, t in others if t is not None], name)
    found = ", ".join(book.runs) or "none"
    where = f"{claim.backbone} at {'1024x2048' if claim.dataset == 'cityscapes' else 'a COCO size'}"
    return Verdict(NOT_COMPARABLE, f"no run of ours times two of these rows on {where} (runs: {found})")


def _together(one: Claim, other: Claim) -> bool:
    """Whether two speeds stand in one table or sentence, of one backbone and data set."""
    fields = [(c.paper, c.table, c.place, c.dataset, c.backbone, c.metric) for c in (one, other)]
    return fields[0] == fields[1] and bool(one.encoder)


def _timed(records: Sequence[Record], claim: Claim) -> Timed | None:
    wanted = (claim.encoder, tuples(claim.settings), claim.backbone, claim.dataset)
    own = []
    for record in records:
        cell = unreplicated(Cell.from_json(record.cell))
        key = (cell.encoder, cell.settings, cell.backbone, cell.dataset)
        if record.probe == PROBE and record.status == "ok" and not cell.width and key == wanted:
            own.append(record)
    return Timed(across_processes([r.samples for r in own]), tuple(own)) if own else None


def _ranked(claim: Claim, own: Timed, others: list[tuple[Claim, Timed]], run: str) -> Verdict:
    agreed, opposed, open_ = [], [], []
    for other, timed in others:
        name = other.row.rpartition("/")[2]
        said = f"{'faster' if claim.number > other.number else 'slower'} than {name}"
        ratio = own.time.median / timed.time.median
        if own.time.between is None or timed.time.between is None:
            open_.append(f"{said} (timed in one process, which has no spread)")
        elif abs(ratio - 1) <= CERTAIN * (own.time.between**2 + timed.time.between**2) ** 0.5:
            open_.append(said)
        elif (ratio < 1) == (claim.number > other.number):
            agreed.append(f"{said} (here by {100 * abs(ratio - 1):.0f}% of time)")
        else:
            opposed.append(f"{said} (here the other way, by {100 * abs(ratio - 1):.0f}% of time)")
    ours, records = 1 / own.time.median, own.records
    tail = f"in {run}, on {_machine(records[0])}; the value itself is of another machine"
    if opposed:
        return Verdict(CONTRADICTED, f"direction: {'; '.join(opposed)}, {tail}", ours, records=records)
    if agreed:
        return Verdict(REPRODUCED, f"direction alone: {'; '.join(agreed)}, {tail}", ours, records=records)
    return Verdict(NOT_COMPARABLE, f"{'; '.join(open_)}: not told apart {tail}", ours, records=records)


def _machine(record: Record) -> str:
    """The kind of machine that a record was timed on, with its name."""
    if record.cell["device"] == "cpu":
        return f"a CPU ({record.environment['cpu']})"
    return f"a GPU ({record.environment['gpu']})"

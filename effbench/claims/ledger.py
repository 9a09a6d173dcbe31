"""The ledger: every claim with its verdict, and what the print says against itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from effbench.claims import costs, differences, facts, shares, speed
from effbench.claims.context import CONTRADICTED, NEEDS_DATA, NOT_COMPARABLE, Book, Verdict
from effbench.claims.contradiction import Contradiction
from effbench.claims.contradictions import contradictions
from effbench.claims.counting import Counts
from effbench.claims.printed import COSTS, QUALITY, Claim
from effbench.study.record import Record, RecordBook

RECORDS = Path("claims") / "records.jsonl"
RUNS = "*/*/full/records.jsonl"


@dataclass(frozen=True)
class Ledger:
    """All claims with their verdicts.

    Attributes:
        book: claims, counts and runs.
        verdicts: id -> verdict, in the order of the claims.
        contradictions: what is found in print, whatever our counts say.
    """

    book: Book
    verdicts: Mapping[str, Verdict]
    contradictions: Sequence[Contradiction]


def build(claims: Sequence[Claim], counts: Counts, runs: Mapping[str, Sequence[Record]]) -> Ledger:
    """The ledger of `claims`; counts that are missing or stale are made, if `counts` may."""
    book = Book(claims, counts, runs)
    verdicts = {claim.id: _verdict(book, claim) for claim in claims}
    found = contradictions(book, verdicts)
    for contradiction in found:
        for id, remark in contradiction.remarks.items():
            old = verdicts[id]
            if old.verdict not in (NEEDS_DATA, NOT_COMPARABLE):
                continue
            if id in contradiction.wrong:
                verdicts[id] = replace(old, verdict=CONTRADICTED, reason=remark)
            else:
                verdicts[id] = replace(old, reason=f"{old.reason}; {remark}")
    return Ledger(book, verdicts, found)


def runs_in(results: Path) -> dict[str, list[Record]]:
    """Timed runs among published results: folder -> its records of whole passes."""
    found = {}
    for path in sorted(results.glob(RUNS)):
        records = RecordBook(path, read_only=True).records
        found[path.parent.relative_to(results).as_posix()] = [r for r in records if r.probe == speed.PROBE]
    return found


def _verdict(book: Book, claim: Claim) -> Verdict:
    metric = claim.metric
    if metric in COSTS:
        return costs.verdict(book, claim)
    if metric in differences.FORMULAS:
        return differences.verdict(book, claim)
    if metric == "share_encoder":
        return shares.verdict(book, claim)
    if metric == "share_tokens":
        return facts.token_share(claim)
    if metric == "gflops_trc":
        return facts.recalibration(book, claim)
    if metric == "fps":
        return speed.verdict(book, claim)
    if metric == "params_m":
        return facts.parameters(book, claim)
    if metric in QUALITY:
        if not claim.encoder or claim.paper == "maskconver":
            return Verdict(NOT_COMPARABLE, f"effbench does not build this {claim.system}; as printed")
        return Verdict(NEEDS_DATA, "it takes the data set and the trained weights")
    return facts.verdict(book, claim)

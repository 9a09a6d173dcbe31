"""The ledger that is published, from its records, whatever the sources are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from effbench.claims import printed
from effbench.claims.counting import Counts, as_of_today
from effbench.claims.ledger import RECORDS, Ledger, build, runs_in

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.fixture(scope="session")
def kept() -> Counts:
    """The published counts as if of today's sources: what a rule does with them does not hang on those."""
    counts = Counts.of(PUBLISHED / RECORDS, may_count=False)
    for key, record in counts.records.items():
        counts.records[key] = as_of_today(record)
    return counts


@pytest.fixture(scope="session")
def ledger(kept: Counts) -> Ledger:
    """All claims with their verdicts."""
    return build(printed.read(), kept, runs_in(PUBLISHED))

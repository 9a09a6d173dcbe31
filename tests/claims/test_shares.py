"""The encoder's share: by our counts where the print's cells are of different images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED
from effbench.claims.counting import Counts
from effbench.claims.ledger import Ledger, build

MORE_THAN_HALF = "proscale/text/Abstract/M2F/share_encoder"


def test_more_than_half_is_so_by_our_counts(ledger: Ledger) -> None:
    verdict = ledger.verdicts[MORE_THAN_HALF]
    assert verdict.verdict == REPRODUCED
    assert verdict.ours == pytest.approx(51.65, abs=0.005)
    assert "49.89" in verdict.reason
    assert verdict.records


def test_a_share_that_fits_no_input_is_not_comparable(ledger: Ledger) -> None:
    for backbone in ("r50", "swin_t"):
        verdict = ledger.verdicts[f"proscale/Fig1/{backbone}/M2F/share_encoder"]
        assert verdict.verdict == NOT_COMPARABLE
        assert "fits neither table nor any of our inputs" in verdict.reason


@pytest.mark.parametrize(
    ("id", "value", "verdict"),
    [
        (MORE_THAN_HALF, "52", CONTRADICTED),
        ("proscale/Fig1/r50/M2F/share_encoder", "55.56", REPRODUCED),
        ("proscale/Fig1/swin_t/M2F/share_encoder", "51.65", REPRODUCED),
        ("proscale/Fig1/swin_t/M2F/share_encoder", "49.8", REPRODUCED),
    ],
)
def test_another_value_has_another_verdict(ledger: Ledger, kept: Counts, id: str, value: str, verdict: str) -> None:
    claims = [replace(c, value=value) if c.id == id else c for c in ledger.book.claims]
    assert build(claims, kept, ledger.book.runs).verdicts[id].verdict == verdict

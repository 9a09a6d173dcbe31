"""Settings and facts: what effbench took from the papers cannot confirm them."""

from __future__ import annotations

from effbench.claims.context import NOT_COMPARABLE, REPRODUCED
from effbench.claims.facts import OURS
from effbench.claims.ledger import Ledger


def test_a_default_that_was_taken_from_the_print_confirms_nothing(ledger: Ledger) -> None:
    own = [c for c in ledger.book.claims if c.metric in OURS and c.metric.startswith("setting")]
    agreeing = [c for c in own if ledger.verdicts[c.id].ours == c.number]
    assert len(agreeing) > 15
    assert {ledger.verdicts[c.id].verdict for c in agreeing} == {NOT_COMPARABLE}


def test_classes_are_those_of_the_annotations(ledger: Ledger) -> None:
    own = [c for c in ledger.book.claims if c.metric in ("n_things", "n_stuff") and c.paper == "proscale"]
    assert own
    assert {ledger.verdicts[c.id].verdict for c in own} == {REPRODUCED}


def test_a_share_that_is_cut_is_one_digit_away(ledger: Ledger) -> None:
    """4 of 21 tokens are 19.0476%, printed as 19.04."""
    verdict = ledger.verdicts["proscale/text/Sec-3.1/swin_t/M2F(scale=s3)/share_tokens"]
    assert (verdict.verdict, verdict.kind) == (REPRODUCED, "last digit")

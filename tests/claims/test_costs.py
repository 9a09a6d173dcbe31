"""Printed costs: what is not reproduced has its proof, and says how far it is off."""

from __future__ import annotations

import re

import pytest

from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED
from effbench.claims.counting import countable, gated
from effbench.claims.ledger import Ledger
from effbench.claims.printed import COSTS


def test_every_cost_without_a_gate_that_is_not_reproduced_has_its_proof(ledger: Ledger) -> None:
    own = [c for c in ledger.book.claims if countable(c) and not gated(c) and c.paper != "maskconver"]
    assert len(own) >= 168
    left = [c for c in own if ledger.verdicts[c.id].verdict != REPRODUCED]
    assert left
    assert [c.id for c in left if not ledger.verdicts[c.id].proof] == []


@pytest.mark.parametrize(
    ("id", "proof"),
    [
        ("eco/T2/r50/M2F/gflops_encoder", "our count of mask2former on swin_t"),
        ("eco/S-T1/coco/swin_t/Lite-M2F/gflops_total", "two inputs"),
        ("proscale/T3/swin_t/PRO-SCALE+s1(1,1,1)/gflops_encoder", "authors to 1znQ has 132 for the same model"),
        ("proscale_forum/text/authors-to-1znQ/swin_t/PRO-SCALE(1,1,1)/gflops_encoder", "55.14 for the same model"),
        ("eco/T1/swin_t/RT-M2F/gflops_total", "unless RT-M2F also changes the decoder"),
        ("eco/T1/swin_t/RT-M2F/gflops_encoder", "under-specified"),
    ],
)
def test_the_proof_is_in_the_reason(ledger: Ledger, id: str, proof: str) -> None:
    verdict = ledger.verdicts[id]
    assert proof in verdict.proof
    assert verdict.proof in verdict.reason


def test_a_contradicted_cost_says_how_far_it_is_off(ledger: Ledger) -> None:
    own = [c for c in ledger.book.claims if c.metric in COSTS and ledger.verdicts[c.id].verdict == CONTRADICTED]
    assert own
    for claim in own:
        assert re.search(r"[+-]\d+\.\d\d% off", ledger.verdicts[claim.id].reason), claim.id


def test_a_quoted_cost_is_not_held_against_the_caption(ledger: Ledger) -> None:
    verdict = ledger.verdicts["maskconver/T1/r50/Mask2Former/gflops_total"]
    assert verdict.verdict == NOT_COMPARABLE
    assert verdict.ours == pytest.approx(229.44, abs=0.005)
    assert "quoted from" in verdict.reason

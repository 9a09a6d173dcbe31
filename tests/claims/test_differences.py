"""Percentages and differences: each from its own cells and from our counts, and never reproduced without both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from effbench.claims import differences
from effbench.claims.context import CONTRADICTED, NEEDS_DATA, NOT_COMPARABLE, REPRODUCED
from effbench.claims.counting import Counts
from effbench.claims.ledger import Ledger, build
from effbench.claims.printed import COSTS, Claim

FORUM = "proscale_forum/text/authors-to-1znQ/swin_t/PRO-SCALE(1,1,1)"


def allowed(ledger: Ledger, claim: Claim) -> float:
    """What our number may miss the printed one by."""
    book = ledger.book
    if claim.metric in COSTS:
        ours = ledger.verdicts[claim.id].ours or 0.0
        return max(book.steps[claim.id] / 2, 1e-3 * ours)
    if claim.metric in differences.FORMULAS:
        return book.steps[claim.id] + max(made.margin for made in differences.remade(book, claim))
    return book.steps[claim.id]


def test_what_is_reproduced_is_near_our_number(ledger: Ledger) -> None:
    """Speeds apart: they are reproduced by direction."""
    tested = 0
    for claim in ledger.book.claims:
        verdict = ledger.verdicts[claim.id]
        if verdict.verdict != REPRODUCED or verdict.ours is None or claim.metric == "fps":
            continue
        short = claim.number - verdict.ours
        off = max(short, 0.0) if ">" in claim.about else abs(short)
        assert off <= allowed(ledger, claim) + 1e-9, (claim.id, verdict.ours)
        tested += 1
    assert tested > 200


def test_a_reproduced_percentage_has_our_number(ledger: Ledger) -> None:
    for claim in ledger.book.claims:
        if claim.metric.startswith(("pct_", "delta_")) and ledger.verdicts[claim.id].verdict == REPRODUCED:
            assert ledger.verdicts[claim.id].ours is not None, claim.id


@pytest.mark.parametrize(
    ("id", "kind", "ours"),
    [
        (f"{FORUM}/delta_gflops", "cells that are not", 77.31),
        ("proscale/text/Sec-4.2-config/swin_t/PRO-SCALE(1,1,3)/delta_gflops", "mixed inputs", 27.24),
        ("proscale/T1/swin_t/Lite-M2F/pct_encoder", "mixed inputs", -38.82),
        ("proscale/text/Sec-4.2-components/swin_t/PRO-SCALE+s1(1,1,1)/pct_encoder", "cells that are not", 52.89),
    ],
)
def test_what_follows_in_print_is_held_against_our_counts(ledger: Ledger, id: str, kind: str, ours: float) -> None:
    verdict = ledger.verdicts[id]
    assert (verdict.verdict, verdict.kind) == (CONTRADICTED, kind)
    assert verdict.ours == pytest.approx(ours, abs=0.005)
    assert verdict.records


def test_the_reason_says_which_way_and_which_cell(ledger: Ledger) -> None:
    reasons = {id: verdict.reason for id, verdict in ledger.verdicts.items()}
    assert "on the same images it saves more: 38.82%" in reasons["proscale/T1/swin_t/Lite-M2F/pct_encoder"]
    assert "one cell, 73.49, is not what we count: 55.14" in reasons[f"{FORUM}/delta_gflops"]


def test_where_the_form_is_ours_our_count_contradicts_nothing(ledger: Ledger) -> None:
    for table in ("T1", "T2"):
        for metric in ("pct_total", "pct_encoder"):
            verdict = ledger.verdicts[f"proscale/{table}/swin_t/RT-M2F/{metric}"]
            assert verdict.verdict == NOT_COMPARABLE
            assert verdict.ours is not None


def test_of_several_readings_one_that_fits_is_enough(ledger: Ledger) -> None:
    verdict = ledger.verdicts["proscale/text/Sec-4.1/coco/swin_t/PRO-SCALE(3,3,3)/pct_encoder"]
    assert verdict.verdict == REPRODUCED
    assert verdict.ours == pytest.approx(51.86, abs=0.005)


def test_a_bound_fails_by_the_row_that_fails_it(ledger: Ledger, kept: Counts) -> None:
    """51.98 is not less than 51.99 by more than the last digit; 50.04 is."""
    id = "proscale/text/T1-caption/PRO-SCALE/pct_encoder"
    verdict = ledger.verdicts[id]
    assert verdict.verdict == CONTRADICTED
    assert "-50.04 (encoder of T1 r50" in verdict.reason
    assert "51.98" not in verdict.reason
    first = [replace(c, of=c.of[:1], against=c.against[:1]) if c.id == id else c for c in ledger.book.claims]
    assert build(first, kept, ledger.book.runs).verdicts[id].verdict == REPRODUCED


def test_differences_of_systems_that_are_not_built_are_not_comparable(ledger: Ledger) -> None:
    own = [c for c in ledger.book.claims if c.paper == "maskconver" and c.metric == "delta_pq"]
    assert len(own) > 20
    assert {ledger.verdicts[c.id].verdict for c in own} == {NOT_COMPARABLE}
    assert ledger.verdicts["proscale/text/Sec-4.1/coco/r50/PRO-SCALE/delta_pq"].verdict == NOT_COMPARABLE
    assert ledger.verdicts["proscale/text/Sec-4.1/coco/swin_t/PRO-SCALE(3,3,3)/delta_pq"].verdict == NEEDS_DATA


def test_points_of_pq_may_be_called_percent(ledger: Ledger) -> None:
    verdict = ledger.verdicts["proscale/text/Sec-1/coco/swin_t/RT-M2F/pct_pq"]
    assert verdict.verdict == NEEDS_DATA
    assert "-10.67" in verdict.reason


def test_a_reason_names_two_readings_at_most(ledger: Ledger) -> None:
    reason = ledger.verdicts["eco/text/Sec-4.1/swin_t/Lite-ECO-M2F/pct_gflops"].reason
    assert "does not follow" in reason
    assert reason.count(" against ") == differences.ALTERNATIVES

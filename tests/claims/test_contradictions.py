"""What the print says against itself: each kind is found where it is planted, and not where it is mended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from effbench.claims.context import CONTRADICTED, NEEDS_DATA, NOT_COMPARABLE
from effbench.claims.contradiction import KINDS, OBSERVATIONS, Contradiction
from effbench.claims.counting import Counts
from effbench.claims.ledger import Ledger, build


def with_values(ledger: Ledger, kept: Counts, values: Mapping[str, str]) -> list[Contradiction]:
    claims = [replace(c, value=values.get(c.id, c.value)) for c in ledger.book.claims]
    return list(build(claims, kept, ledger.book.runs).contradictions)


def naming(found: list[Contradiction], kind: str, id: str) -> list[Contradiction]:
    return [c for c in found if c.kind == kind and id in c.claims]


@pytest.mark.parametrize(
    ("kind", "id", "mended"),
    [
        ("two values", "eco/T5/coco/swin_t/M2F(exit_layer=6,training=plain)/pq", "52.03"),
        ("two values", "proscale/text/Sec-4.2-FPS/r50/PRO-SCALE(3,3,3)/pq", "51.45"),
        ("does not follow", "proscale/T2/r50/PEM/pct_total", "-54.86"),
        ("last digit", "proscale/T1/r50/PRO-SCALE(3,3,3)/pct_encoder", "-50.04"),
        ("mixed inputs", "proscale/T1/swin_t/Lite-M2F/pct_encoder", None),
        ("rest", "eco/T2/r50/M2F/gflops_encoder", "291.20"),
        ("total and encoder", "eco/T4/swin_t/ECO-M2F(k=5)/gflops_total", "208.50"),
        ("same encoder", "eco/S-T1/coco/swin_t/Lite-M2F/gflops_encoder", "74.45"),
        ("another's number", "eco/T2/r50/M2F/gflops_encoder", "291.20"),
        ("inputs", "proscale/T6/coco/swin_t/M2F/gflops_total", None),
        ("two systems", "proscale/T4/coco/swin_t/Lite-M2F+LPE/ap_p", "40.97"),
        ("cells that are not", "proscale/text/Sec-4.2-components/swin_t/PRO-SCALE+s1(1,1,1)/pct_encoder", None),
        ("two names", "proscale/T8/panoptic/swin_t/Lite-DETR/pq", "53.70"),
        ("wrong way", "eco/T4/swin_t/ECO-M2F(k=4)/gflops_encoder", "88.40"),
        ("slower", "proscale/T15/swin_t/Lite-M2F/fps", "5.61"),
        ("groups", "maskconver/T4/r50/MaskConver(cls_embd=False)/pq", "52.0"),
        ("fixed exits", "eco/T3/coco/swin_t/ECO-M2F(beta=0.0)/pq", "52.84"),
    ],
)
def test_what_is_in_print_is_found_and_goes_when_mended(
    ledger: Ledger, kept: Counts, kind: str, id: str, mended: str | None
) -> None:
    found = naming(list(ledger.contradictions), kind, id)
    assert found
    assert found[0].says
    if mended is not None:
        assert naming(with_values(ledger, kept, {id: mended}), kind, id) == []


def test_every_kind_is_one_with_a_heading(ledger: Ledger) -> None:
    assert {c.kind for c in ledger.contradictions} <= set(KINDS)
    ids = {claim.id for claim in ledger.book.claims}
    for contradiction in ledger.contradictions:
        assert set(contradiction.wrong) <= set(contradiction.claims) <= ids


def test_numbers_that_differ_by_their_digits_alone_are_one(ledger: Ledger) -> None:
    """PRO-SCALE's Table 7 prints 64.80 for ECO-M2F's 64.84."""
    assert not naming(list(ledger.contradictions), "two values", "proscale/T7/swin_s/M2F/pq")


@pytest.mark.parametrize(
    ("id", "verdict", "other"),
    [
        ("proscale/T4/coco/swin_t/Lite-M2F/miou_p", NEEDS_DATA, "63.08"),
        ("proscale/T4/coco/swin_t/Lite-M2F/ap_p", NEEDS_DATA, "41.10"),
        ("eco/T5/coco/swin_t/M2F(exit_layer=6,training=plain)/pq", NEEDS_DATA, "52.03"),
        ("maskconver/T1/r50/Mask2Former/pq", NOT_COMPARABLE, "51.73"),
        ("proscale/T16/r50/M2F/fps", NOT_COMPARABLE, "4.91"),
    ],
)
def test_copies_outvote_nobody(ledger: Ledger, id: str, verdict: str, other: str) -> None:
    """How often a value is printed decides nothing; that it is printed otherwise is said."""
    assert ledger.verdicts[id].verdict == verdict
    assert f"printed elsewhere as {other}" in ledger.verdicts[id].reason
    assert all(id not in c.wrong for c in ledger.contradictions)


def test_a_sentence_is_held_against_the_table_that_it_quotes(ledger: Ledger) -> None:
    verdict = ledger.verdicts["proscale/text/Sec-4.2-FPS/r50/PRO-SCALE(3,3,3)/pq"]
    assert verdict.verdict == CONTRADICTED
    assert "51.45" in verdict.reason


def test_what_another_row_costs_is_held_against_what_we_count_alone(ledger: Ledger) -> None:
    named = [c for c in ledger.contradictions if c.kind == "another's number"]
    assert {ledger.verdicts[id].verdict for c in named for id in c.claims} == {CONTRADICTED}
    assert "our count of" in ledger.verdicts["proscale/T10/r50/MaskCLIP/gflops_encoder"].reason


def test_an_observation_makes_nothing_wrong(ledger: Ledger) -> None:
    assert set(KINDS) > OBSERVATIONS
    observed = [c for c in ledger.contradictions if c.kind in OBSERVATIONS]
    assert {c.kind for c in observed} == OBSERVATIONS
    assert not [c for c in observed if c.wrong]
    assert len({c.says for c in observed}) == len(observed)


def test_fixed_exits_are_better_by_more_than_rounding(ledger: Ledger) -> None:
    """At 52.06 the gate of beta 0.0005 and fixed exits give the same PQ."""
    named = {id for c in ledger.contradictions if c.kind == "fixed exits" for id in c.claims}
    assert "eco/T3/coco/swin_t/ECO-M2F(beta=0.0005)/pq" not in named
    assert "eco/T4/swin_t/ECO-M2F/pq" not in named

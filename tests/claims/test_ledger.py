"""The ledger as a whole: what it reproduces, what it says of gated rows, and that it catches what is false."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from effbench.claims.context import CONTRADICTED, NEEDS_DATA, NOT_COMPARABLE, REPRODUCED, VERDICTS
from effbench.claims.counting import Counts, gated
from effbench.claims.ledger import Ledger, build
from effbench.claims.printed import COSTS, Claim, read

UNGATED = (
    "M2F",
    "Lite-M2F",
    "Lite-M2F + LPE",
    "RT-M2F",
    "PRO-SCALE",
    "PRO-SCALE + s1",
    "PRO-SCALE + (s1 via LPE)",
    "M2F + (completely remove s1)",
)
"""Systems of Mask2Former's style as ECO-M2F and PRO-SCALE print them, without a gate."""


def costs(ledger: Ledger, systems: tuple[str, ...]) -> list[Claim]:
    return [c for c in ledger.book.claims if c.metric in COSTS and c.system in systems]


def test_every_claim_has_a_verdict_and_a_reason(ledger: Ledger) -> None:
    assert list(ledger.verdicts) == [claim.id for claim in ledger.book.claims]
    for id, verdict in ledger.verdicts.items():
        assert verdict.verdict in VERDICTS, id
        assert verdict.reason, id


def test_the_costs_of_ungated_rows_are_reproduced(ledger: Ledger) -> None:
    own = costs(ledger, UNGATED)
    tally = Counter(ledger.verdicts[claim.id].verdict for claim in own)
    assert len(own) == 168
    assert tally[REPRODUCED] >= 147
    for claim in own:
        verdict = ledger.verdicts[claim.id]
        if verdict.verdict == REPRODUCED:
            assert verdict.ours is not None
            step = ledger.book.steps[claim.id]
            near = max(step / 2, 1e-3 * verdict.ours)
            assert abs(verdict.ours - claim.number) <= near + 1e-9, claim.id
            assert verdict.records, claim.id


def test_a_row_is_counted_on_the_input_that_fits_it_best(ledger: Ledger) -> None:
    """The input of a COCO row is data; all of val2017, as the papers state, may not explain its total better."""
    for claim in costs(ledger, UNGATED):
        if claim.dataset == "coco" and ledger.verdicts[claim.id].verdict == REPRODUCED and claim.metric == COSTS[1]:
            off = {}
            for size in {"coco", claim.input}:
                ours = ledger.book.cost(claim, size, claim.metric)
                assert ours is not None
                off[size] = abs(ours - claim.number)
            assert off[claim.input] <= min(off.values()) + ledger.book.steps[claim.id], (claim.id, off)


def test_every_gated_cost_states_the_implied_exit(ledger: Ledger) -> None:
    own = [claim for claim in ledger.book.claims if claim.metric in COSTS and gated(claim)]
    assert len(own) == 74
    for claim in own:
        depth = ledger.verdicts[claim.id].mean_exit
        assert depth is not None, claim.id
        assert 1.98 <= depth <= 6.02, claim.id
    named = [c for c in ledger.contradictions if c.kind == "total and encoder"]
    disagree = [c for c in own if ledger.verdicts[c.id].verdict == CONTRADICTED]
    assert {id for c in named for id in c.claims if id.endswith("total")} == {c.id for c in disagree}
    assert "eco/T3/coco/swin_t/ECO-M2F(beta=0.0)/gflops_total" in {c.id for c in disagree}


def test_known_mistakes_in_print_are_found(ledger: Ledger) -> None:
    verdicts = ledger.verdicts
    swin = verdicts["eco/T2/r50/M2F/gflops_encoder"]
    assert swin.verdict == CONTRADICTED
    assert "on swin_t" in swin.reason
    swapped = verdicts["proscale/T3/swin_t/M2F+(completely-remove-s1)/gflops_encoder"]
    assert "proscale(p=(1,1,1), embedding=conv)" in swapped.reason
    assert "two inputs" in verdicts["eco/S-T1/coco/swin_t/Lite-M2F/gflops_total"].reason
    mixed = verdicts["proscale/T1/swin_t/Lite-M2F/pct_encoder"]
    assert mixed.verdict == CONTRADICTED
    assert mixed.ours == pytest.approx(-38.8, abs=0.05)
    assert verdicts["proscale/T2/r50/PEM/pct_total"].verdict == CONTRADICTED
    assert verdicts["proscale/T5/mvit_t/M2F/gflops_total"].verdict == NOT_COMPARABLE
    assert verdicts["proscale/T5/mvit_t/M2F/gflops_encoder"].verdict == REPRODUCED
    kinds = {c.kind for c in ledger.contradictions}
    assert {"two values", "does not follow", "rest", "mixed inputs", "same encoder", "fixed exits"} <= kinds


def test_what_needs_data_is_not_judged(ledger: Ledger) -> None:
    assert ledger.verdicts["eco/T1/swin_t/M2F/pq"].verdict == NEEDS_DATA
    assert ledger.verdicts["eco/T1/r50/YOSO/pq"].verdict == NOT_COMPARABLE


PLANTED = {
    # costs without a gate
    "eco/T1/swin_t/M2F/gflops_encoder": "127.69",
    "proscale/T2/swin_t/PRO-SCALE(2,2,2)/gflops_total": "362.00",
    "proscale/T7/swin_l/PRO-SCALE(3,3,3)/gflops_total": "1903.90",
    "proscale/T4/coco/swin_t/Lite-M2F+LPE/gflops_encoder": "34.92",
    "eco/T4/swin_t/M2F(layers=5)/gflops_total": "222.95",
    # gated rows: a total that its encoder does not make, and an exit before the first
    "eco/T2/swin_t/ECO-M2F(beta=0.003)/gflops_total": "517.51",
    "eco/T3/coco/swin_t/ECO-M2F(beta=0.02)/gflops_encoder": "61.71",
    # numbers made of others
    "proscale/T1/swin_t/PRO-SCALE(1,1,1)/pct_encoder": "-84.44",
    "proscale/T1/r50/YOSO/pct_total": "-52.05",
    "proscale/T7/r101/PRO-SCALE(3,3,3)/pct_total": "21.45",
    "eco/text/Sec-4.2-weights/swin_t-moby/ECO-M2F/pct_encoder": "36.34",
    "eco/text/Sec-4.2-weights/swin_t-moby/ECO-M2F/share_pq": "97.9",
    "maskconver/text/Abstract/r50/MaskConver/delta_pq": "3.9",
    "maskconver/text/Sec-4.2/r50/MaskConver/speedup": "3.12",
    "proscale/text/Sec-3.1/swin_t/M2F(scale=s2)/share_tokens": "67.19",
    # qualities, against what is made of them and their own parts
    "maskconver/T1/r50/kMaX-DeepLab/pq": "55.0",
    # parameters, settings, facts
    "maskconver/T1/r50/Mask2Former/params_m": "54",
    "eco/text/Sec-4-architecture/ECO-M2F/setting_enc_layers": "8",
    "proscale/text/App-A/coco/data/n_stuff": "35",
    "proscale/text/App-C/coco/PRO-SCALE/gflops_trc": "0.060",
}
"""id -> a value that is not printed there."""
COPIES = {
    "eco/T6/coco/swin_t/M2F/pq": "50.23",
    "eco/S-T2/swin_t/ECO-M2F/ap_p": "45.11",
    "proscale/T9/r50/M2F/fps": "9.41",
}
"""As `PLANTED`, of numbers that several tables print: which of two values is wrong, no table can say."""
QUICK = 6
"""One in so many planted numbers is tried alone in every run of the tests, the others in slow ones."""


def test_planted_numbers_are_caught_together(ledger: Ledger, kept: Counts) -> None:
    assert len(PLANTED) + len(COPIES) >= 20
    true = {claim.id: ledger.verdicts[claim.id].verdict for claim in ledger.book.claims}
    claims = read()
    assert PLANTED.keys() <= true.keys()
    assert not [id for id in PLANTED if true[id] == CONTRADICTED], "these are false as printed"
    planted = [replace(c, value=PLANTED.get(c.id, c.value)) for c in claims]
    found = build(planted, kept, ledger.book.runs).verdicts
    assert [id for id in PLANTED if found[id].verdict != CONTRADICTED] == []


def each_alone() -> list[Any]:
    """Every planted number as a case of its own; one in six without the mark `slow`, since each builds a ledger."""
    return [
        pytest.param(id, marks=() if i % QUICK == 0 else pytest.mark.slow, id=id.replace("/", "-"))
        for i, id in enumerate(PLANTED)
    ]


@pytest.mark.parametrize("id", each_alone())
def test_a_false_number_alone_is_caught(ledger: Ledger, kept: Counts, id: str) -> None:
    """Alone, so that it is not another false number that shows it."""
    planted = [replace(c, value=PLANTED[id]) if c.id == id else c for c in ledger.book.claims]
    assert ledger.verdicts[id].verdict != CONTRADICTED
    assert build(planted, kept, ledger.book.runs).verdicts[id].verdict == CONTRADICTED


@pytest.mark.parametrize(("id", "value"), COPIES.items())
def test_a_false_copy_is_named_beside_the_true_ones(ledger: Ledger, kept: Counts, id: str, value: str) -> None:
    true = next(c for c in ledger.book.claims if c.id == id)
    found = build([replace(c, value=value) if c.id == id else c for c in ledger.book.claims], kept, ledger.book.runs)
    said = re.compile(rf"elsewhere .*\b{re.escape(true.value)} \(")
    assert said.search(found.verdicts[id].reason)
    assert not said.search(ledger.verdicts[id].reason)
    assert any(c.kind == "two values" and id in c.claims and value in c.says for c in found.contradictions)

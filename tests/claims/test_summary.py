"""What stands above the tables says how inputs were found and how many numbers have which verdict."""

from __future__ import annotations

import re
from dataclasses import replace

from effbench.claims import summary
from effbench.claims.context import CONTRADICTED, REPRODUCED
from effbench.claims.counting import COCO_INPUTS, gated
from effbench.claims.ledger import Ledger
from effbench.claims.printed import COSTS, WITHOUT_DECIMALS


def test_the_inputs_are_said_to_be_inferred_and_how_well_they_fit(ledger: Ledger) -> None:
    said = summary.introduction(ledger)
    assert "Inputs are inferred" in said
    rows, both = (
        int(number)
        for number in re.findall(r"of (\d+) rows without a gate that print both .*, (\d+) fit in both\.", said)[0]
    )
    assert 0.9 * rows < both <= rows
    assert "none would fit in both over all 5,000" in said
    for name in COCO_INPUTS:
        assert f"{name}:" not in said


def test_an_input_that_does_not_fit_lowers_what_fits(ledger: Ledger) -> None:
    """The share of rows that fit is counted, not written."""
    claims = [
        replace(c, value="1.00") if c.id.startswith("proscale/T1/swin_t/M2F/g") else c for c in ledger.book.claims
    ]
    changed = replace(ledger, book=replace(ledger.book, claims=claims))
    found = [
        re.findall(r"print both .*, (\d+) fit in both\.", summary.introduction(each))[0] for each in (ledger, changed)
    ]
    assert int(found[0]) == int(found[1]) + 1


def test_zeros_behind_the_point_are_no_digits_as_the_introduction_says(ledger: Ledger) -> None:
    large = [
        c for c in ledger.book.claims if c.paper == "proscale" and c.metric == COSTS[0] and c.number >= WITHOUT_DECIMALS
    ]
    assert {c.value.partition(".")[2] for c in large} <= {"", "00"}
    assert {ledger.book.steps[c.id] for c in large} == {1.0}


def test_counts_are_those_of_the_verdicts(ledger: Ledger) -> None:
    text = summary.counts(ledger)
    wrong = [v for v in ledger.verdicts.values() if v.verdict == CONTRADICTED]
    number, distinct = (int(n) for n in re.findall(r"The (\d+) contradicted numbers are (\d+) statements", text)[0])
    assert number == len(wrong)
    assert distinct < number
    own = [
        c
        for c in ledger.book.claims
        if c.metric in COSTS and c.encoder and c.input and c.paper != "maskconver" and not gated(c)
    ]
    tables = [c for c in own if not c.place and c.paper != "proscale_forum"]
    good = [c for c in own if ledger.verdicts[c.id].verdict == REPRODUCED]
    assert f"rows without a gate that effbench counts: {len(own)} ({len(tables)} in the papers' tables, " in text
    assert f"of which {len(good)} reproduced" in text

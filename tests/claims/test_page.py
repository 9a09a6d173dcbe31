"""The page and the table of claims: complete, and readable by a program."""

from __future__ import annotations

import csv
import io
import re

from effbench.claims import page
from effbench.claims.context import VERDICTS
from effbench.claims.ledger import Ledger
from effbench.claims.printed import COLUMNS


def test_the_table_has_every_claim_with_its_verdict(ledger: Ledger) -> None:
    rows = list(csv.DictReader(io.StringIO(page.as_csv(ledger))))
    assert list(rows[0]) == [*COLUMNS, *page.ADDED]
    assert [row["id"] for row in rows] == list(ledger.verdicts)
    for row in rows:
        assert row["verdict"] in VERDICTS
        assert row["reason"]
        assert re.fullmatch(r"((macs|parameters|components):[0-9a-f]{16}@[0-9a-f]{16} ?)*", row["record"])


def test_a_counted_claim_names_the_records_behind_it(ledger: Ledger) -> None:
    for id, verdict in ledger.verdicts.items():
        if verdict.ours is not None and id.rpartition("/")[2].startswith("gflops"):
            assert verdict.records, id


def test_the_page_has_counts_first_and_every_table(ledger: Ledger) -> None:
    text = page.as_page(ledger)
    assert text.index("## Counts") < text.index(f"## {page.AGAINST}") < text.index("## ECO-M2F")
    assert "| **all** " in text
    for heading in ("### Table 8", "### Table T1", "### Table 16", "### In the text and in captions"):
        assert heading in text
    assert "| 117.00 ✓ 116.68 " in text
    assert "*ReMaX*" in text


def test_no_bare_pipe_breaks_a_row(ledger: Ledger) -> None:
    lines = [line for line in page.as_page(ledger).splitlines() if line.startswith("|")]
    blocks = "\n".join(lines).split("\n|:")
    assert len(blocks) > 20
    widths = {}
    for line in lines:
        if line.startswith("|:"):
            continue
        widths.setdefault(len(re.findall(r"(?<!\\)\|", line)), line)
    assert max(widths) < 20

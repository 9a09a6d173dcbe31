"""The page and the table of claims: complete, and readable by a program."""

from __future__ import annotations

import csv
import io
import re

from effbench.claims import page
from effbench.claims.context import CONTRADICTED, VERDICTS
from effbench.claims.contradiction import KINDS, OBSERVATIONS
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


INNER = re.compile(r"swin_[tsbl]|\br50\b|coco:first|pct_|gflops_|fps_|mask2former|proscale\(|beta=|exit_layer|#\d \|")


def test_the_page_has_no_inner_names(ledger: Ledger) -> None:
    for line in page.as_page(ledger).splitlines():
        if not re.search(r"\]\(#", line):  # a link to a heading
            assert not INNER.search(line), line


def test_the_text_sections_list_what_is_contradicted_and_count_the_rest(ledger: Ledger) -> None:
    """Every number of a section is in a line of its own or of a repeat, or among those that are counted."""
    text = page.as_page(ledger)
    for title, paper in (("## ECO-M2F", "eco"), ("## PRO-SCALE", "proscale"), ("## MaskConver", "maskconver")):
        own = text[text.index(f"\n{title}\n") :]
        section = own[own.index("### In the text and in captions") :].partition("\n## ")[0]
        claims = [c for c in ledger.book.claims if c.paper == paper and c.place]
        lines = [line for line in section.splitlines() if line.startswith("- ")]
        counted = re.search(r"^Not listed here.*?: (.*)\.$", section, re.MULTILINE)
        assert counted
        others = sum(int(n) for n in re.findall(r"(\d+) (?:reproduced|not comparable|needs)", counted[1]))
        assert 0 < others <= len(claims) - len(lines)
        wrong = {c.value for c in claims if ledger.verdicts[c.id].verdict == CONTRADICTED}
        for value in wrong:
            assert any(f"{value}" in line and "✗" in line for line in lines), value
        assert "setting" not in "".join(lines)


def test_observations_are_no_faults(ledger: Ledger) -> None:
    text = page.as_page(ledger)
    faults, _, rest = text.partition(f"## {page.OBSERVED}\n")
    assert OBSERVATIONS
    for kind, heading in KINDS.items():
        if any(c.kind == kind for c in ledger.contradictions):
            assert (f"[{heading}]" in faults) == (kind not in OBSERVATIONS), kind
            assert f"### {heading} (" in rest


def test_links_lead_to_headings(ledger: Ledger) -> None:
    text = page.as_page(ledger)
    anchors = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("###")
    }
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert links
    assert set(links) <= anchors


def test_no_bare_pipe_breaks_a_row(ledger: Ledger) -> None:
    lines = [line for line in page.as_page(ledger).splitlines() if line.startswith("|")]
    blocks = "\n".join(lines).split("\n|:")
    assert len(blocks) > 20
    widths: dict[int, str] = {}
    for line in lines:
        if line.startswith("|:"):
            continue
        widths.setdefault(len(re.findall(r"(?<!\\)\|", line)), line)
    assert max(widths) < 20

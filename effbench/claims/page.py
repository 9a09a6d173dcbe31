"""The ledger as files: claims.csv with every verdict, and a page in the shape of the papers' tables."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from effbench.claims.context import (
    CONTRADICTED,
    NEEDS_DATA,
    NOT_COMPARABLE,
    REPRODUCED,
    VERDICTS,
    Verdict,
)
from effbench.claims.contradiction import KINDS
from effbench.claims.counting import COCO_INPUTS, LIKE_FOR_LIKE, gated
from effbench.claims.ledger import Ledger
from effbench.claims.printed import COLUMNS, COSTS, HEADS, PAPERS, QUALITY, Claim

ADDED = ("ours", "like_for_like", "mean_exit", "verdict", "reason", "record")
MARKS: Mapping[str, str] = {REPRODUCED: "✓", CONTRADICTED: "✗", NOT_COMPARABLE: "◇", NEEDS_DATA: ""}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "GFLOPs": COSTS,
    "percentages, differences, shares": ("pct_", "delta_", "share_", "speedup", "gflops_trc"),
    "speed (FPS)": ("fps",),
    "parameters": ("params_m",),
    "quality (PQ, mIoU, AP)": QUALITY,
    "settings and facts": ("",),
}
"""Kind of claim -> how its metrics begin; the first that fits."""
AGAINST = "What the print says against itself"
COMMAND = "effbench claims --write"


def as_csv(ledger: Ledger) -> str:
    """Every claim as printed, with `ADDED`."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*COLUMNS, *ADDED], lineterminator="\n")
    writer.writeheader()
    for claim in ledger.book.claims:
        writer.writerow({**claim.as_row(), **added(ledger.verdicts[claim.id])})
    return out.getvalue()


def added(verdict: Verdict) -> dict[str, str]:
    """The columns of `ADDED`: numbers to six digits; a record is its cell and the hash of its sources."""
    numbers = {name: getattr(verdict, name) for name in ("ours", "like_for_like", "mean_exit")}
    return {
        **{name: "" if value is None else f"{value:.6g}" for name, value in numbers.items()},
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "record": " ".join(
            dict.fromkeys(f"{record.probe}:{record.cell_id}@{record.source}" for record in verdict.records)
        ),
    }


def as_page(ledger: Ledger) -> str:
    """The page, as markdown."""
    parts = [
        "# Every number in print, and what becomes of it",
        _introduction(ledger),
        "## Counts",
        _counts(ledger),
        f"## {AGAINST}",
        "Found by the program from the printed numbers; one by one at the end of this page.",
        _kinds(ledger),
        *_papers(ledger),
        "## One by one: what the print says against itself",
        "Where a count of ours explains one, it says so.",
        *_contradictions(ledger),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(ledger: Ledger) -> str:
    marks = ", ".join(f"{MARKS[verdict]} {verdict}" for verdict in VERDICTS if MARKS[verdict])
    return "\n\n".join(
        [
            "ECO-M2F (Yao et al. 2024), PRO-SCALE (Aich et al. 2025, with its public reviews) and MaskConver (Rashwan "
            f"et al. 2023) print {len(ledger.book.claims):,} numbers. Each has one verdict here: {marks}, and without "
            f"a mark {NEEDS_DATA}. All of them with the reason, our number and the records behind it: "
            "[claims.csv](claims.csv); our counts: [records.jsonl](claims/records.jsonl).",
            "One GFLOP in print is one giga multiply-accumulate. Costs are counted again at the input that a row was "
            "really counted on, which is fixed per row and named in the tables; our count stands behind the mark. It "
            "is reproduced if it rounds to the digits in print or is within 0.1%. Under coco:firstN the total is the "
            "mean of val2017's first N images and the encoder is that of the last. *Like for like* is our count over "
            "the data set's validation images (all 5,000 of COCO val2017; 1024x2048), where that is another input. A "
            "gated row's encoder says how deep its images went (*mean exit*), and its total is checked against that. "
            "Percentages are made again from their own cells and from our like-for-like counts. Speeds are compared by "
            "direction within one run of ours. Systems in *italics* are not built here and stand as printed.",
            f"Made by `{COMMAND}`; a test fails when it is stale.",
        ]
    )


def _counts(ledger: Ledger) -> str:
    found: dict[str, Counter[str]] = {name: Counter() for name in GROUPS}
    for claim in ledger.book.claims:
        name = next(n for n, starts in GROUPS.items() if claim.metric.startswith(starts))
        found[name][ledger.verdicts[claim.id].verdict] += 1
    rows = [{"claims": name, **_row(counts)} for name, counts in found.items()]
    total = sum(found.values(), Counter())
    by_paper = []
    for paper, title in PAPERS.items():
        own = Counter(ledger.verdicts[c.id].verdict for c in ledger.book.claims if c.paper == paper)
        by_paper.append({"paper": title, **_row(own)})
    return "\n\n".join(
        [_markdown([*rows, {"claims": "**all**", **_row(total)}]), _markdown(by_paper), *_statements(ledger)]
    )


def _row(counts: Mapping[str, int]) -> dict[str, str]:
    numbers = {f"{MARKS[verdict]} {verdict}".strip(): str(counts.get(verdict, 0)) for verdict in VERDICTS}
    return {**numbers, "all": str(sum(counts.values()))}


def _statements(ledger: Ledger) -> Iterator[str]:
    """How the costs of ungated and gated rows came out, in a sentence each."""
    costs = [c for c in ledger.book.claims if c.metric in COSTS and c.encoder and c.input and c.paper != "maskconver"]
    for name, own in (
        ("rows without a gate", [c for c in costs if not gated(c)]),
        ("gated rows", [c for c in costs if gated(c)]),
    ):
        tally = Counter(ledger.verdicts[c.id].verdict for c in own)
        said = ", ".join(f"{tally[verdict]} {verdict}" for verdict in VERDICTS if tally[verdict])
        yield f"GFLOPs of Mask2Former-style {name} that effbench counts: {len(own)}, of which {said}."


def _kinds(ledger: Ledger) -> str:
    """How many contradictions there are of each kind, with a link to them."""
    found = Counter(c.kind for c in ledger.contradictions)
    rows = []
    for kind, heading in KINDS.items():
        if found[kind]:
            anchor = re.sub(r"[^\w\- ]", "", f"{heading} ({found[kind]})".lower()).replace(" ", "-")
            rows.append({"": f"[{heading}](#{anchor})", "found": str(found[kind])})
    return _markdown(rows)


def _contradictions(ledger: Ledger) -> Iterator[str]:
    for kind, heading in KINDS.items():
        own = [c for c in ledger.contradictions if c.kind == kind]
        if own:
            yield f"### {heading} ({len(own)})"
            yield "\n".join(f"- {_escaped(c.says)}" for c in own)


def _papers(ledger: Ledger) -> Iterator[str]:
    for paper, title in PAPERS.items():
        yield f"## {title}"
        own = [c for c in ledger.book.claims if c.paper == paper]
        tables = dict.fromkeys(c.table for c in own if not c.place)
        for table in tables:
            claims = [c for c in own if c.table == table and not c.place]
            yield f"### {claims[0].source.partition(', ')[2]}"
            yield _table(ledger, claims)
            notes = _notes(ledger, claims)
            if notes:
                yield notes
        text = [c for c in own if c.place]
        if text:
            yield "### In the text and in captions"
            yield "\n".join(_sentence(ledger, claim) for claim in text)


def _table(ledger: Ledger, claims: Sequence[Claim]) -> str:
    metrics = list(dict.fromkeys(c.metric for c in claims))
    several = len({c.dataset for c in claims if c.dataset}) > 1
    rows: dict[str, dict[str, str]] = {}
    for claim in claims:
        row = rows.setdefault(claim.row, {"data set": claim.dataset} if several else {})
        name = name_of(claim)
        row.setdefault(
            "backbone", claim.backbone + (f" ({claim.pretrain})" if claim.pretrain not in ("", "in1k") else "")
        )
        row.setdefault("system", name if claim.encoder else f"*{name}*")
    for id, row in rows.items():
        cells = ledger.book.rows[id]
        for metric in metrics:
            row[HEADS.get(metric, metric)] = _cell(ledger, cells[metric]) if metric in cells else ""
        row.update(_beside(ledger, cells))
    frame = pd.DataFrame(rows.values()).fillna("")
    return _markdown(frame.loc[:, (frame != "").any()].to_dict("records"))


def name_of(claim: Claim) -> str:
    """The row's system with whatever tells it from its neighbours."""
    slug = re.sub(r"\s+", "-", (claim.system or "data").replace("/", "-").replace(" + ", "+"))
    return (claim.system or "data") + claim.row.rpartition("/")[2].removeprefix(slug)


def _cell(ledger: Ledger, claim: Claim) -> str:
    verdict = ledger.verdicts[claim.id]
    ours = ""
    if verdict.ours is not None and claim.metric in COSTS:
        ours = f" {verdict.ours:.2f}"
    return f"{claim.value} {MARKS[verdict.verdict]}{ours}".strip()


def _beside(ledger: Ledger, cells: Mapping[str, Claim]) -> dict[str, str]:
    """What stands beside a row's costs: its input, our like-for-like counts, the mean exit."""
    costs = [cells[metric] for metric in COSTS if metric in cells]
    if not costs or not costs[0].input:
        return {}
    verdicts = [ledger.verdicts[c.id] for c in costs]
    alike = [f"{v.like_for_like:.2f}" for v in verdicts if v.like_for_like is not None]
    depth = next((v.mean_exit for v in verdicts if v.mean_exit is not None), None)
    differs = costs[0].input in COCO_INPUTS and costs[0].input != LIKE_FOR_LIKE["coco"]
    return {
        "input": costs[0].input,
        "like for like": " / ".join(alike) if differs else "",
        "mean exit": "" if depth is None else f"{depth:.2f}",
    }


def _notes(ledger: Ledger, claims: Sequence[Claim]) -> str:
    """Reasons of what is contradicted, and of costs and speeds that are not comparable; alike ones together."""
    said: dict[str, list[str]] = {}
    for claim in claims:
        verdict = ledger.verdicts[claim.id]
        told = claim.metric in (*COSTS, "fps", "params_m") and verdict.verdict == NOT_COMPARABLE and claim.encoder
        if verdict.verdict == CONTRADICTED or told:
            where = f"{claim.backbone} {name_of(claim)}, {HEADS.get(claim.metric, claim.metric)} {claim.value}"
            said.setdefault(f"{MARKS[verdict.verdict]} {verdict.reason}", []).append(where)
    return "\n".join(f"- {_escaped('; '.join(where))}: {_escaped(reason)}" for reason, where in said.items())


def _sentence(ledger: Ledger, claim: Claim) -> str:
    verdict = ledger.verdicts[claim.id]
    of = " ".join(filter(None, (claim.dataset, claim.backbone, name_of(claim) if claim.system else "")))
    what = HEADS.get(claim.metric, claim.metric.replace("_", " ")).removesuffix(", %")
    number = f"{claim.about if claim.about != 'mean' else ''}{claim.value} {claim.unit}".strip()
    said = ", ".join(filter(None, (claim.place, of, what)))
    return f"- {_escaped(f'{said}: {number} {MARKS[verdict.verdict]}'.strip())} ({_escaped(verdict.reason)})"


def _markdown(rows: Sequence[Mapping[str, object]]) -> str:
    frame = pd.DataFrame([{k: _escaped(str(v)) for k, v in row.items()} for row in rows]).fillna("")
    return str(frame.to_markdown(index=False, disable_numparse=True))


def _escaped(text: str) -> str:
    """Text that markdown shows as it is, save for the italics of whole cells."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("~", "\\~")

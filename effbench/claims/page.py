"""The ledger as files: claims.csv with every verdict, and a page in the shape of the papers' tables."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED, VERDICTS, Verdict
from effbench.claims.contradiction import KINDS, OBSERVATIONS
from effbench.claims.counting import COCO_INPUTS, LIKE_FOR_LIKE
from effbench.claims.ledger import Ledger
from effbench.claims.markdown import escaped, table
from effbench.claims.names import DATA_SETS, INPUTS, Reader, backbone_name, metric_name, system_name
from effbench.claims.printed import COLUMNS, COSTS, HEADS, PAPERS, Claim
from effbench.claims.statements import places, statements
from effbench.claims.summary import GROUPS, MARKS, SETTINGS, counts, introduction, kind_of

ADDED = ("ours", "like_for_like", "mean_exit", "verdict", "reason", "record")
AGAINST = "What the print says against itself"
OBSERVED = "Worth knowing"
OBSERVED_NOTE = "No faults of the print: what its numbers show beside what it says of them."


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
    reader = Reader(ledger.book.claims)
    faults, observations = (list(_contradictions(ledger, reader, observed)) for observed in (False, True))
    parts = [
        "# Every number in print, and what becomes of it",
        introduction(ledger),
        "## Counts",
        counts(ledger),
        f"## {AGAINST}",
        "Found by the program from the printed numbers; one by one at the end of this page, where a statement that is "
        "printed again has one line.",
        _kinds(ledger, observed=False),
        *([f"## {OBSERVED}", OBSERVED_NOTE, _kinds(ledger, observed=True)] if observations else []),
        *_papers(ledger, reader),
        f"## One by one: {AGAINST[0].lower()}{AGAINST[1:]}",
        "Where a count of ours explains one, it says so.",
        *faults,
        *([f"## One by one: {OBSERVED.lower()}", *observations] if observations else []),
    ]
    return "\n\n".join(parts) + "\n"


def _headings(observed: bool) -> dict[str, str]:
    """Kind -> heading, of faults or of observations alone."""
    return {kind: heading for kind, heading in KINDS.items() if (kind in OBSERVATIONS) == observed}


def _kinds(ledger: Ledger, observed: bool) -> str:
    """How many contradictions there are of each kind, with a link to them."""
    found = Counter(c.kind for c in ledger.contradictions)
    rows = []
    for kind, heading in _headings(observed).items():
        if found[kind]:
            anchor = re.sub(r"[^\w\- ]", "", f"{heading} ({found[kind]})".lower()).replace(" ", "-")
            rows.append({"": f"[{heading}](#{anchor})", "found": str(found[kind])})
    return table(rows) if rows else ""


def _contradictions(ledger: Ledger, reader: Reader, observed: bool) -> Iterator[str]:
    claims = {claim.id: claim for claim in ledger.book.claims}
    for kind, heading in _headings(observed).items():
        own = {c.claims: c for c in ledger.contradictions if c.kind == kind}
        if not own:
            continue
        yield f"### {heading} ({sum(c.kind == kind for c in ledger.contradictions)})"
        lines, several = [], [c for ids, c in own.items() if len(ids) > 1]
        for group in statements(ledger.book, [claims[ids[0]] for ids in own if len(ids) == 1]):
            first, *others = group
            again = f" (printed again: {places(others, first.paper)})" if others else ""
            lines.append(f"- {escaped(reader.plain(own[first.id,].says) + again)}")
        yield "\n".join([*lines, *(f"- {escaped(reader.plain(c.says))}" for c in several)])


def _papers(ledger: Ledger, reader: Reader) -> Iterator[str]:
    for paper, title in PAPERS.items():
        yield f"## {title}"
        own = [c for c in ledger.book.claims if c.paper == paper]
        tables = dict.fromkeys(c.table for c in own if not c.place)
        for number in tables:
            claims = [c for c in own if c.table == number and not c.place]
            yield f"### {claims[0].source.partition(', ')[2]}"
            yield _table(ledger, claims)
            notes = _notes(ledger, reader, claims)
            if notes:
                yield notes
        text = [c for c in own if c.place]
        if text:
            yield "### In the text and in captions"
            yield from _text(ledger, reader, text)


def _table(ledger: Ledger, claims: Sequence[Claim]) -> str:
    metrics = list(dict.fromkeys(c.metric for c in claims))
    several = len({c.dataset for c in claims if c.dataset}) > 1
    rows: dict[str, dict[str, str]] = {}
    for claim in claims:
        row = rows.setdefault(claim.row, {"data set": DATA_SETS.get(claim.dataset, "")} if several else {})
        name = system_name(claim)
        row.setdefault("backbone", backbone_name(claim))
        row.setdefault("system", name if claim.encoder else f"*{name}*")
    for id, row in rows.items():
        cells = ledger.book.rows[id]
        for metric in metrics:
            row[HEADS.get(metric, metric)] = _cell(ledger, cells[metric]) if metric in cells else ""
        row.update(_beside(ledger, cells))
    frame = pd.DataFrame(rows.values()).fillna("")
    return table(frame.loc[:, (frame != "").any()].to_dict("records"))


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
        "input": INPUTS.get(costs[0].input, costs[0].input),
        "like for like": " / ".join(alike) if differs else "",
        "mean exit": "" if depth is None else f"{depth:.2f}",
    }


def _notes(ledger: Ledger, reader: Reader, claims: Sequence[Claim]) -> str:
    """Reasons of what is contradicted, and of costs and speeds that are not comparable; alike ones together."""
    said: dict[str, list[str]] = {}
    for claim in claims:
        verdict = ledger.verdicts[claim.id]
        told = claim.metric in (*COSTS, "fps", "params_m") and verdict.verdict == NOT_COMPARABLE and claim.encoder
        if verdict.verdict == CONTRADICTED or told:
            where = f"{backbone_name(claim)} {system_name(claim)}, {metric_name(claim)} {claim.value}"
            said.setdefault(f"{MARKS[verdict.verdict]} {reader.plain(verdict.reason)}", []).append(where)
    return "\n".join(f"- {escaped('; '.join(where))}: {escaped(reason)}" for reason, where in said.items())


def _text(ledger: Ledger, reader: Reader, claims: Sequence[Claim]) -> Iterator[str]:
    """What is contradicted or was made again, statement by statement, and how many others there are."""
    listed: list[Claim] = []
    others: list[Claim] = []
    for claim in claims:
        verdict = ledger.verdicts[claim.id]
        again = verdict.verdict == REPRODUCED or (verdict.ours is not None and claim.metric != "fps")
        shown = verdict.verdict == CONTRADICTED or (again and kind_of(claim) != SETTINGS)
        (listed if shown else others).append(claim)
    said = []
    for group in statements(ledger.book, listed):
        verdict = ledger.verdicts[group[0].id]
        what = _statement(group[0])
        where, mark = places(group, group[0].paper), MARKS[verdict.verdict]
        said.append(f"- {escaped(f'{what} {mark} ({where}): {reader.plain(verdict.reason)}')}")
    if said:
        yield "\n".join(said)
    if others:
        tally = Counter((kind_of(c), ledger.verdicts[c.id].verdict) for c in others)
        unlisted = "; ".join(
            f"{name}: {', '.join(f'{tally[name, v]} {v}' for v in VERDICTS if tally[name, v])}"
            for name in GROUPS
            if any(tally[name, v] for v in VERDICTS)
        )
        yield f"Not listed here, with their places in [claims.csv](claims.csv): {unlisted}."


def _statement(claim: Claim) -> str:
    """What a number in the text is of, and the number."""
    data = DATA_SETS.get(claim.dataset, "")
    of = " ".join(filter(None, (data, backbone_name(claim), system_name(claim))))
    unit = (
        "" if claim.unit in ("GFLOPs", "frames/s", "layers", "") else f"{'' if claim.unit == '%' else ' '}{claim.unit}"
    )
    number = f"{claim.about if claim.about != 'mean' else ''}{claim.value}{unit}"
    return f"{', '.join(filter(None, (of, metric_name(claim))))}: {number}"

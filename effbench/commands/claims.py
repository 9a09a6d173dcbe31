"""`effbench claims`: every number that the papers print, with its verdict."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from effbench.errors import InputError

if TYPE_CHECKING:
    from effbench.claims.ledger import Ledger
    from effbench.claims.printed import Claim


def claims(
    paper: Annotated[str | None, typer.Option(help="eco, proscale, proscale_forum or maskconver.")] = None,
    table: Annotated[str | None, typer.Option(help="A table as printed, such as T1 or S-T1, or text.")] = None,
    verdict: Annotated[
        str | None, typer.Option(help="reproduced, contradicted, not comparable, or needs data and weights.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of published results: counts and timed runs.")] = (
        Path("results") / "published"
    ),
    write: Annotated[
        bool, typer.Option("--write", help="Write README.md, claims.csv and the counts into that folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object on the last line.")] = (
        False
    ),
) -> None:
    """Hold what the papers print against our counts and against itself.

    Costs are counted again from the sources that are there; a count whose sources, data, torch and timm have not
    changed since it was published is read from the folder of results, any other is made now, in about a second.
    """
    from effbench.claims import page, printed
    from effbench.claims.contradiction import OBSERVATIONS
    from effbench.claims.counting import Counts
    from effbench.claims.counting import write as write_records
    from effbench.claims.ledger import RECORDS, build, runs_in
    from effbench.files import replacing
    from effbench.study.record import RecordBook

    console = Console()
    counts = Counts.of(results / RECORDS)
    counts.counting = lambda cell: console.print(
        f"counting {cell.system} on {cell.backbone} at {cell.size}", markup=False, soft_wrap=True
    )
    if write:  # each count as soon as it is made: an interrupted command goes on where it stopped
        counts.keep = RecordBook(results / RECORDS).append
    ledger = build(printed.read(), counts, runs_in(results))
    chosen = _chosen(ledger, paper, table, verdict)
    if write:
        write_records(counts.asked.values(), results / RECORDS)
        for name, text in (("claims.csv", page.as_csv(ledger)), ("README.md", page.as_page(ledger))):
            with replacing(results / name) as file:
                file.write(text.encode())
        console.print(f"Page: {results / 'README.md'}", markup=False, soft_wrap=True)
    if len(chosen) < len(ledger.book.claims):
        _print(console, ledger, chosen)
    tally = Counter(ledger.verdicts[claim.id].verdict for claim in chosen)
    console.print(f"{len(chosen)} claims: {', '.join(f'{n} {name}' for name, n in tally.most_common())}")
    if as_json:
        answer = {
            "counts": dict(tally),
            "claims": [{**claim.as_row(), **page.added(ledger.verdicts[claim.id])} for claim in chosen],
            "contradictions": [
                {**asdict(found), "observation": found.kind in OBSERVATIONS} for found in ledger.contradictions
            ],
        }
        print(json.dumps(answer))


def _chosen(ledger: Ledger, paper: str | None, table: str | None, verdict: str | None) -> list[Claim]:
    """The claims that the options leave; InputError for one that leaves none because nothing is called so."""
    from effbench.claims.context import VERDICTS
    from effbench.claims.printed import PAPERS

    own = [c for c in ledger.book.claims if paper in (None, c.paper)]
    tables = {"text" if claim.place else claim.table: None for claim in own}
    for name, value, allowed in (("paper", paper, PAPERS), ("table", table, tables), ("verdict", verdict, VERDICTS)):
        if value is not None and value not in allowed:
            raise InputError(f"--{name} {value!r}; expected one of {', '.join(allowed)}")
    own = [c for c in own if table in (None, "text" if c.place else c.table)]
    return [c for c in own if verdict in (None, ledger.verdicts[c.id].verdict)]


def _print(console: Console, ledger: Ledger, chosen: list[Claim]) -> None:
    table = Table("claim", "printed", "ours", "verdict", "reason")
    for claim in chosen:
        found = ledger.verdicts[claim.id]
        ours = "" if found.ours is None else f"{found.ours:.2f}"
        cells = (claim.id, f"{claim.about}{claim.value}", ours, found.verdict, found.reason)
        table.add_row(*map(escape, cells))
    console.print(table)

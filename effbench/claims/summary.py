"""What stands above the tables: how a number is judged, which inputs are inferred, how many have which verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from effbench.claims.context import (
    CLOSE,
    CONTRADICTED,
    INFERRED,
    NEEDS_DATA,
    NOT_COMPARABLE,
    REPRODUCED,
    VERDICTS,
)
from effbench.claims.counting import COCO_INPUTS, LIKE_FOR_LIKE, gated
from effbench.claims.ledger import Ledger
from effbench.claims.markdown import table
from effbench.claims.printed import COSTS, FAMILY, PAPERS, QUALITY, Claim
from effbench.claims.statements import statements

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
SETTINGS = "settings and facts"
COMMAND = "effbench claims --write"


def introduction(ledger: Ledger) -> str:
    """What the page holds, and how a number is judged."""
    marks = ", ".join(f"{MARKS[verdict]} {verdict}" for verdict in VERDICTS if MARKS[verdict])
    return "\n\n".join(
        [
            "ECO-M2F (Yao et al. 2024), PRO-SCALE (Aich et al. 2025, with its public reviews) and MaskConver (Rashwan "
            f"et al. 2023) print {len(ledger.book.claims):,} numbers. Each has one verdict here: {marks}, and without "
            f"a mark {NEEDS_DATA}. All of them with the reason, our number and the records behind it: "
            "[claims.csv](claims.csv); our counts: [records.jsonl](claims/records.jsonl).",
            "One GFLOP in print is one giga multiply-accumulate. Our count stands behind the mark. A cost is "
            f"reproduced if our count rounds to the digits in print or is within {100 * CLOSE:g}% of it. PRO-SCALE "
            "fills long numbers up with zeros: from 100 on the costs of its encoders have no digits but zeros behind "
            "the point, so that 117.00 is read as 117, which 116.68 rounds to.",
            f"**Inputs are inferred.** {_inferred(ledger)}",
            "*Like for like* is our count over all 5,000 images, where a row was counted on fewer. A gated row's "
            "encoder in print says how deep its images went: *mean exit* is the layer at which that cost lies between "
            "our counts of the exits. It is weighted by cost, since an image counts by what a layer costs on it, a "
            "large one more than a small one. The row's total is checked against its encoder. Percentages are made "
            "again from their own cells and from our counts of the images that both cells were counted on, else of all "
            "5,000. Speeds are compared by direction within one run of ours, if it has several processes. Systems in "
            "*italics* are not built here and stand as printed.",
            f"Made by `{COMMAND}`; a test fails when it is stale.",
        ]
    )


def _inferred(ledger: Ledger) -> str:
    """How the inputs of rows were found, and how well they fit."""
    book, fits = ledger.book, Counter[str]()
    for row in book.rows.values():
        pair = [row[metric] for metric in COSTS if metric in row]
        size = pair[0].input if pair else ""
        if len(pair) < len(COSTS) or size not in COCO_INPUTS or gated(pair[0]) or pair[0].encoder == INFERRED:
            continue
        ours = {where: [book.cost(c, where, c.metric) for c in pair] for where in (size, LIKE_FOR_LIKE["coco"])}
        if None in ours[size]:
            continue
        fit = {
            where: all(n is not None and book.agrees(c, n) for c, n in zip(pair, counts, strict=True))
            for where, counts in ours.items()
        }
        fits["rows"] += 1
        fits["both"] += fit[size]
        if size != LIKE_FOR_LIKE["coco"]:
            fits["fewer"] += 1
            fits["fewer, all"] += fit[LIKE_FOR_LIKE["coco"]]
    return (
        "The papers state a way of resizing, or a mean over all validation images, and neither fits every row. For a "
        "row we take the one of four inputs that fits what it prints: on COCO val2017 all 5,000 images, the first 100 "
        "or the first 30, on Cityscapes 1024x2048; it is kept with the printed number and named in the tables. Under "
        "the first 30 or 100 the total is their mean and the encoder is that of the last image, as the papers' tool "
        "prints them. The choice is one of three for a COCO row and has to fit two numbers, a mean and a single "
        f"image's, as closely as that: of {fits['rows']} rows without a gate that print both (RT-M2F aside, whose form "
        f"no paper states), {fits['both']} fit in both. Of the {fits['fewer']} rows among them that we say were "
        "counted on the first 30 or 100, "
        f"{fits['fewer, all'] or 'none'} would fit in both over all 5,000. Nobody but the authors can say what they "
        "did: an input that we did not try might fit as well."
    )


def counts(ledger: Ledger) -> str:
    """How many numbers have which verdict: by kind, by paper, and of the costs that are counted."""
    found: dict[str, Counter[str]] = {name: Counter() for name in GROUPS}
    for claim in ledger.book.claims:
        found[kind_of(claim)][ledger.verdicts[claim.id].verdict] += 1
    rows = [{"claims": name, **_row(counts)} for name, counts in found.items()]
    total = sum(found.values(), Counter())
    by_paper = []
    for paper, title in PAPERS.items():
        own = Counter(ledger.verdicts[c.id].verdict for c in ledger.book.claims if c.paper == paper)
        by_paper.append({"paper": title, **_row(own)})
    return "\n\n".join([table([*rows, {"claims": "**all**", **_row(total)}]), table(by_paper), *_statements(ledger)])


def _statements(ledger: Ledger) -> Iterator[str]:
    """How many statements are contradicted, and how the costs of ungated and gated rows came out."""
    wrong = [c for c in ledger.book.claims if ledger.verdicts[c.id].verdict == CONTRADICTED]
    yield (
        f"The {len(wrong)} contradicted numbers are {len(statements(ledger.book, wrong))} statements: one that a paper "
        "prints in several places, or that others quote, is one."
    )
    costs = [c for c in ledger.book.claims if c.metric in COSTS and c.encoder and c.input and c.paper != "maskconver"]
    for name, own in (
        ("rows without a gate", [c for c in costs if not gated(c)]),
        ("gated rows", [c for c in costs if gated(c)]),
    ):
        tally = Counter(ledger.verdicts[c.id].verdict for c in own)
        said = ", ".join(f"{tally[verdict]} {verdict}" for verdict in VERDICTS if tally[verdict])
        stands = Counter(
            "in the reviews" if c.paper in FAMILY else "in the papers' text" if c.place else "in the papers' tables"
            for c in own
        )
        where = ", ".join(f"{number} {place}" for place, number in stands.most_common())
        yield f"GFLOPs of Mask2Former-style {name} that effbench counts: {len(own)} ({where}), of which {said}."


def _row(counts: Mapping[str, int]) -> dict[str, str]:
    numbers = {f"{MARKS[verdict]} {verdict}".strip(): str(counts.get(verdict, 0)) for verdict in VERDICTS}
    return {**numbers, "all": str(sum(counts.values()))}


def kind_of(claim: Claim) -> str:
    """The kind of claim, of `GROUPS`."""
    return next(name for name, starts in GROUPS.items() if claim.metric.startswith(starts))

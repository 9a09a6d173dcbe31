"""What the papers print, as data: one row of published.csv per number, read with the precision that it has in print.

Sources: ECO-M2F (Yao et al. 2024), PRO-SCALE (Aich et al. 2025) and its public reviews, MaskConver (Rashwan et al.
2023). A row says where the number stands and what it is of; nothing in it says whether it is right.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import Any

from effbench.errors import InputError

PAPERS: Mapping[str, str] = {
    "eco": "ECO-M2F",
    "proscale": "PRO-SCALE",
    "proscale_forum": "PRO-SCALE's public reviews",
    "maskconver": "MaskConver",
}
FAMILY: Mapping[str, str] = {"proscale_forum": "proscale"}
"""Papers that print in another's name; all others print in their own."""
COSTS = ("gflops_encoder", "gflops_total")
QUALITY = ("pq", "pq_thing", "pq_stuff", "miou_p", "ap_p", "ap", "ap50", "aps", "apm", "apl", "ap_mask", "ap_box")
HEADS: Mapping[str, str] = {
    "pq": "PQ",
    "pq_thing": "PQ things",
    "pq_stuff": "PQ stuff",
    "miou_p": "mIoU_p",
    "ap_p": "AP_p",
    "gflops_encoder": "encoder GFLOPs",
    "gflops_total": "total GFLOPs",
    "pct_encoder": "encoder, %",
    "pct_total": "total, %",
    "fps": "FPS",
    "params_m": "M parameters",
    "ap": "AP",
    "ap50": "AP50",
    "aps": "APs",
    "apm": "APm",
    "apl": "APl",
    "ap_mask": "AP mask",
    "ap_box": "AP box",
    "pct_pq": "PQ, %",
    "pct_fps": "FPS, %",
    "pct_latency": "latency, %",
    "pct_gflops": "GFLOPs, %",
    "delta_pq": "PQ, difference",
    "delta_ap": "AP, difference",
    "delta_ap_p": "AP_p, difference",
    "delta_fps": "FPS, difference",
    "delta_gflops": "GFLOPs, difference",
    "share_encoder": "the encoder's share",
    "share_pq": "PQ, share",
    "share_tokens": "tokens, share",
    "share_gpu_hours": "GPU hours, share",
    "gflops_trc": "GFLOPs of recalibration",
}
"""Metric -> what a table calls it."""
WITHOUT_DECIMALS = 100
"""From here on some columns are printed without decimals, or with zeros in their place."""


@dataclass(frozen=True)
class Claim:
    """One printed number.

    Attributes:
        id: unique and stable: paper, table, what tells the row, metric.
        paper, table, place: where it stands; `place` is the section of a number in the text.
        dataset, task, backbone, pretrain, system: of the row, as printed.
        encoder, settings: the row's encoder under our names; "" where effbench has none.
        conditions: whatever else the print says of the row.
        metric, value, unit: what is printed, to the letter.
        about: "" for a plain number, "~" for about, ">" and ">=" (or ">=~") for a bound, "mean" of several rows.
        of, against: rows (ids without the metric) that a difference or percentage is between; several where the print
            names none or several. `against` may be settings, of the same system.
        input_stated, input: of a GFLOPs number: what the paper says it was counted on, and what it fits.
        hardware: of a speed.
        remark: how the print was read, where that takes a word.
    """

    id: str
    paper: str
    table: str
    place: str
    dataset: str
    task: str
    backbone: str
    pretrain: str
    system: str
    encoder: str
    settings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    metric: str
    value: str
    unit: str
    about: str
    of: tuple[str, ...]
    against: tuple[str, ...]
    input_stated: str
    input: str
    hardware: str
    remark: str

    @property
    def row(self) -> str:
        """The id without the metric: the same for all cells of a printed row."""
        return self.id.rpartition("/")[0]

    @property
    def number(self) -> float:
        """The printed value."""
        return float(self.value)

    @property
    def decimals(self) -> int:
        """Digits behind the point, zeros included."""
        return len(self.value.partition(".")[2])

    @property
    def source(self) -> str:
        """Paper and table, or section, as a reader cites it."""
        supplement = self.table.startswith("S-")
        number = self.table.removeprefix("F-").removeprefix("S-").removeprefix("" if supplement else "T")
        return f"{PAPERS[self.paper]}, {self.place or f'Table {number}'}"

    def as_row(self) -> dict[str, str]:
        """Its row of published.csv, column by column."""
        plain = {"settings": _json(self.settings), "conditions": _json(self.conditions)}
        joined = {"of": ";".join(self.of), "against": ";".join(self.against)}
        return {name: {**plain, **joined}.get(name) or str(getattr(self, name) or "") for name in COLUMNS}


COLUMNS = [field.name for field in fields(Claim)]
"""Of published.csv."""


def title(row: str) -> str:
    """A row's or claim's id as a reader says it: "ECO-M2F T1 swin_t M2F"."""
    paper, _, rest = row.partition("/")
    return f"{PAPERS[paper]} {rest.removeprefix('text/').replace('/', ' ')}"


def read(text: str | None = None) -> list[Claim]:
    """The claims of published.csv, or of a text in its format.

    Raises InputError for a file with other columns, a value that is no number, an id that is there twice, or a row
    that another speaks of and that is not there.
    """
    reader = csv.DictReader(io.StringIO(text if text is not None else published()))
    if reader.fieldnames != COLUMNS:
        raise InputError(f"the printed numbers have columns {reader.fieldnames}, expected {COLUMNS}")
    claims = [_claim(row) for row in reader]
    known: set[str] = set()
    for claim in claims:
        if claim.id in known:
            raise InputError(f"claim {claim.id} is there twice; give the second another id")
        known.add(claim.id)
    rows = {claim.row for claim in claims}
    for claim in claims:
        for named in (*claim.of, *claim.against):
            if named not in rows and not named.startswith("{"):
                raise InputError(f"claim {claim.id} speaks of row {named}, which is not there")
    return claims


def published() -> str:
    """The text of published.csv."""
    return (files("effbench.claims") / "published.csv").read_text(encoding="utf-8")


def _claim(row: Mapping[str, str]) -> Claim:
    values: dict[str, Any] = dict(row)
    try:
        float(row["value"])
    except ValueError:
        raise InputError(f"claim {row['id']} has value {row['value']!r}, expected a number as printed") from None
    for name in ("settings", "conditions"):
        values[name] = json.loads(row[name]) if row[name] else {}
    values["of"] = tuple(filter(None, row["of"].split(";")))
    against = row["against"]
    values["against"] = (against,) if against.startswith("{") else tuple(filter(None, against.split(";")))
    return Claim(**values)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if value else ""


def steps(claims: Iterable[Claim]) -> dict[str, float]:
    """id -> one unit of the last digit that its column really has.

    A paper that prints three digits pads them with zeros: if all numbers of a column from 100 on, or all below, end
    in zeros, these are no digits. A column is a metric in a paper.
    """
    columns: dict[tuple[str, str, bool], list[Claim]] = {}
    for claim in claims:
        paper = FAMILY.get(claim.paper, claim.paper)
        columns.setdefault((paper, claim.metric, claim.number >= WITHOUT_DECIMALS), []).append(claim)
    found = {}
    for (_, metric, large), column in columns.items():
        padded = metric in COSTS and large
        most = max(len(claim.value.partition(".")[2].rstrip("0")) for claim in column)
        for claim in column:
            digits = min(claim.decimals, most) if padded else claim.decimals
            found[claim.id] = 10.0**-digits
    return found


def by_row(claims: Sequence[Claim]) -> dict[str, dict[str, Claim]]:
    """row -> metric -> claim; of several of one metric the first."""
    found: dict[str, dict[str, Claim]] = {}
    for claim in claims:
        found.setdefault(claim.row, {}).setdefault(claim.metric, claim)
    return found

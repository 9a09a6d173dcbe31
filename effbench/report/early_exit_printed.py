"""ECO-M2F's own tables, row by row: what it prints, and what the models of this study give in the same place.

Quality in print is COCO's or Cityscapes', ours is that of the study's data: the two are held against each other by
direction, never by value. Costs are of the same models on the same inputs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from effbench.claims.printed import Claim, by_row
from effbench.report.early_exit_costs import gmacs_at, implied_exit
from effbench.report.table import GIGA, measured, places
from effbench.study.cell import Cell, label
from effbench.study.record import Record

TABLES = ("T1", "T2", "T3", "T4", "T6", "T8", "S-T1", "S-T2")
EXITS = "T5"
OF_BACKBONES = ("T6", "T8")
"""Tables of backbones that nothing was trained on here: our exits stand for the costs alone."""
QUALITY = ("pq", "miou_p", "ap_p")
COSTS = ("gflops_total", "gflops_encoder")
LOSSES = {"hard-CE": "hard_ce", "u-CE": "u_ce", "soft-CE": "soft_ce", "soft-MSE": "soft_mse"}
TRAINED = {"plain": "last", "USD": "uniform", "WSD": "weighted"}
"""The paper's name of how exits are trained -> ours."""

Line = dict[int, Mapping[str, float]]
"""exit -> encoder's and total GMACs."""


def tables(records: Sequence[Record], claims: Sequence[Claim]) -> dict[str, pd.DataFrame]:
    """The paper's name of a table -> its rows of Mask2Former and of gated encoders, ours beside them."""
    lines, scores = _lines(records), _scores(records)
    if not scores:
        return {}
    found: dict[str, list[dict[str, str]]] = {}
    for row, cells in by_row([claim for claim in claims if claim.paper == "eco" and claim.table in TABLES]).items():
        first = next(iter(cells.values()))
        key = _model(first)
        if key in scores:
            found.setdefault(first.source, []).append(_row(row, cells, scores[key], lines.get(_input(cells), {})))
    return {source: pd.DataFrame(rows) for source, rows in found.items()}


def exits_table(records: Sequence[Record], claims: Sequence[Claim]) -> pd.DataFrame:
    """PQ at every exit by how exits were trained (Table 5): printed on two data sets, and ours, mean over seeds."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for claim in claims:
        exit, kind = claim.conditions.get("exit_layer"), claim.conditions.get("training")
        if claim.paper == "eco" and claim.table == EXITS and exit and kind in TRAINED:
            rows.setdefault((TRAINED[kind], f"{claim.dataset}, printed"), {})[f"exit {exit}"] = claim.value
    for place in places(measured(records, "exits")):
        cell, kind = Cell.from_json(place[0].cell), str(place[0].detail["recipe"]["exit_loss"])
        if cell.settings.get("base") == "mask2former":
            rows[kind, "ours"] = {
                f"exit {exit}": f"{statistics.fmean(r.detail['exits'][exit]['all']['pq'] for r in place):.1f}"
                for exit in place[0].detail["exits"]
            }
    if not any(data == "ours" for _, data in rows):
        return pd.DataFrame()
    ordered = sorted(rows, key=lambda key: (list(TRAINED.values()).index(key[0]), key[1]))
    return pd.DataFrame([{"trained": kind, "PQ on": data, **rows[kind, data]} for kind, data in ordered])


def _row(row: str, cells: Mapping[str, Claim], ours: Mapping[str, float], line: Line) -> dict[str, str]:
    first, exit = next(iter(cells.values())), ours["exit"]
    encoder = cells.get("gflops_encoder")
    counted, implied = "-", "-"
    if line:
        known = {metric: {k: gmacs[metric] for k, gmacs in line.items()} for metric in COSTS}
        counted = " / ".join(f"{gmacs_at(exit, known[metric]):.2f}" for metric in COSTS)
        if encoder is not None and first.encoder == "early_exit":
            implied = f"{implied_exit(encoder.number, known['gflops_encoder']):.2f}"
    printed = {metric: cells[metric].value if metric in cells else "-" for metric in (*QUALITY, *COSTS)}
    return {
        "row": row.split("/", 2)[-1],
        "data": first.dataset,
        "PQ, mIoU_p, AP_p in print": ", ".join(printed[metric] for metric in QUALITY),
        "ours": "-" if first.table in OF_BACKBONES else ", ".join(f"{ours[metric]:.1f}" for metric in QUALITY),
        "GFLOPs in print, total / encoder": " / ".join(printed[metric] for metric in COSTS),
        "its mean exit": implied,
        "our mean exit": f"{exit:.2f}",
        "our GMACs there, total / encoder": counted,
    }


def _model(claim: Claim) -> str:
    """What a printed row is of, as `_scores` calls it."""
    how = claim.conditions
    if claim.encoder == "early_exit":
        loss = LOSSES.get(how.get("gate_loss", "hard-CE"), "")
        settings = {name: value for name, value in claim.settings.items() if name != "k"}
        return f"{label('early_exit', settings)} {float(how.get('beta', -1)):g} {claim.settings.get('k', 0)} {loss}"
    return label(claim.encoder, {"layers": 6, **claim.settings} if claim.encoder == "mask2former" else claim.settings)


def _scores(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Model -> PQ, mIoU_p, AP_p in percent, and the mean exit: gated models, and those trained with fewer layers."""
    found = {}
    for record in measured(records, "exit_quality"):
        cell = Cell.from_json(record.cell)
        gate: Mapping[str, Any] | None = cell.options.get("gate")
        if gate is not None:
            name = f"{cell.system} {gate['beta']:g} {gate.get('k', 0)} {gate.get('loss', 'hard_ce')}"
            found[name] = {**_quality([record]), "exit": record.detail["mean_exit"]}
    for place in places(measured(records, "quality")):
        cell = Cell.from_json(place[0].cell)
        if "layers" in cell.settings:
            found[cell.system] = {**_quality(place), "exit": float(cell.settings["layers"])}
    return found


def _quality(place: Sequence[Record]) -> dict[str, float]:
    paths = {"pq": ("all", "pq"), "miou_p": ("miou", "miou"), "ap_p": ("ap", "ap")}
    return {
        metric: statistics.fmean(record.detail[group][name] for record in place)
        for metric, (group, name) in paths.items()
    }


def _lines(records: Sequence[Record]) -> dict[tuple[str, str, str], Line]:
    """(base, backbone, size) -> counts at its exits, of the models as the papers build them."""
    found: dict[tuple[str, str, str], Line] = {}
    for record in measured(records, "macs"):
        cell, papers = Cell.from_json(record.cell), record.detail["papers"]
        if "exit" in cell.options and not cell.width:
            gmacs = {"gflops_total": papers["total"] / GIGA, "gflops_encoder": papers["encoder"] / GIGA}
            found.setdefault((cell.settings["base"], cell.backbone, cell.size), {})[cell.options["exit"]] = gmacs
    return found


def _input(cells: Mapping[str, Claim]) -> tuple[str, str, str]:
    first = next(iter(cells.values()))
    size = "1024x2048" if first.dataset == "cityscapes" else "coco"
    return str(first.settings.get("base", first.encoder)), first.backbone, size

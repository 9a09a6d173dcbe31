"""Tables of gates: how deep they go, what they give, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from effbench.report.table import measured
from effbench.study.cell import Cell
from effbench.study.record import Record

GATE_DEFAULTS = {"k": 0, "loss": "hard_ce"}


def gates_table(records: Sequence[Record]) -> pd.DataFrame:
    """Every gate: its trade-off, how deep its targets and its choices go on average, the quality that they give."""
    rows = []
    for record in measured(records, "gate"):
        detail = record.detail
        rows.append(
            {
                "system": Cell.from_json(record.cell).system,
                **_recipe(detail["recipe"]),
                "target, train": f"{detail['target']['train']['mean']:.2f}",
                "gate, train": f"{detail['chosen']['train']['mean']:.2f}",
                "gate, val": f"{detail['chosen']['val']['mean']:.2f}",
                "of images at each exit": ", ".join(
                    f"{k}: {n}" for k, n in detail["chosen"]["val"]["images"].items() if n
                ),
                **{f"PQ {group}": f"{detail['quality'][group]['pq']:.1f}" for group in ("all", "things", "stuff")},
                "seconds": f"{record.samples[0]:.1f}",
            }
        )
    return pd.DataFrame(rows)


def scores_table(records: Sequence[Record]) -> pd.DataFrame:
    """What the model gives as its user runs it, at fixed exits and by gates: PQ, mIoU_p and AP_p in percent."""
    rows = []
    for record in measured(records, "exit_quality"):
        detail, cell = record.detail, Cell.from_json(record.cell)
        gate = cell.options.get("gate")
        rows.append(
            {
                "system": cell.system,
                "leaves": f"at exit {cell.options['exit']}" if gate is None else "by its gate",
                **({"beta": "-", "K": "-", "loss": "-"} if gate is None else _recipe({**GATE_DEFAULTS, **gate})),
                "mean exit": f"{detail['mean_exit']:.2f}",
                **{f"PQ {group}": f"{detail[group]['pq']:.1f}" for group in ("all", "things", "stuff")},
                "mIoU_p": f"{detail['miou']['miou']:.1f}",
                "AP_p": f"{detail['ap']['ap']:.1f}",
                "PQ of every image as derived": "yes" if detail["as_derived"] else "no",
            }
        )
    return pd.DataFrame(rows)


def value_table(records: Sequence[Record]) -> pd.DataFrame:
    """What each gate is worth, in points of PQ with 95% intervals over images."""
    rows = []
    for record in measured(records, "gate"):
        value, image = record.detail["value"]["dataset"], record.detail["value"]["image"]
        rows.append(
            {
                "system": Cell.from_json(record.cell).system,
                **_recipe(record.detail["recipe"]),
                "mean exit": f"{value['mean_exit']:.2f}",
                "PQ": f"{value['gate']['value']:.1f}",
                "minus random exits": _estimate(value["over_random"]),
                "minus the neighbouring fixed exits": _estimate(value["over_mix"]),
                "better than fixed exits": _layers(value["over_fixed"], _above),
                "worse than fixed exits": _layers(value["over_fixed"], _below),
                "mean image PQ": f"{image['gate']['value']:.1f}",
                "of random exits": f"{image['random']['value']:.1f}",
                "of the oracle": f"{image['oracle']['value']:.1f}",
                "share of the oracle's gain": "-" if image["share"] is None else _estimate(image["share"], 100, "%"),
            }
        )
    return pd.DataFrame(rows)


def _layers(estimates: Mapping[str, Mapping[str, float]], test: Callable[[Mapping[str, float]], bool]) -> str:
    return ", ".join(layer for layer, one in estimates.items() if test(one)) or "none"


def verdict(records: Sequence[Record]) -> str:
    """The answer to the three questions for every system, from the intervals alone."""
    systems: dict[str, list[Mapping[str, Any]]] = {}
    for record in measured(records, "gate"):
        systems.setdefault(Cell.from_json(record.cell).system, []).append(record.detail["value"])
    questions = {
        "over_random": "the same exits dealt by chance",
        "over_mix": "the fixed exits beside their mean depth",
    }
    said = []
    for system, values in systems.items():
        counts = []
        for name, than in questions.items():
            better, worse = (sum(test(value["dataset"][name]) for value in values) for test in (_above, _below))
            counts.append(f"{better} better and {worse} worse than {than}")
        shares = [value["image"]["share"] for value in values if value["image"]["share"] is not None]
        won = sum(_above(share) for share in shares)
        said.append(f"{system}, {len(values)} gates: {'; '.join(counts)}; {won} win a share of the oracle's gain.")
    return " ".join(said)


def _above(estimate: Mapping[str, float]) -> bool:
    return estimate["low"] > 0


def _below(estimate: Mapping[str, float]) -> bool:
    return estimate["high"] < 0


def _recipe(recipe: Mapping[str, Any]) -> dict[str, str]:
    return {"beta": f"{recipe['beta']:g}", "K": str(recipe["k"] or "all"), "loss": recipe["loss"]}


def _estimate(estimate: Mapping[str, float], scale: float = 1.0, unit: str = "") -> str:
    value, low, high = (scale * estimate[name] for name in ("value", "low", "high"))
    digits = 0 if unit == "%" else 2
    return f"{value:+.{digits}f}{unit} ({low:+.{digits}f}{unit} to {high:+.{digits}f}{unit})"

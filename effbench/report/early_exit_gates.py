"""Tables of gates: how deep they go, what they give, and what that is worth."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from effbench.report.table import measured
from effbench.study.cell import Cell
from effbench.study.record import Record

LEAST_ELSEWHERE = 0.05
"""Share of the images that a gate sends after another exit than most, for its worth to be counted."""
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


def monotony(records: Sequence[Record]) -> str:
    """How far mean exits on the training images ever rise with beta, of the targets and of trained gates, by system."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for record in measured(records, "gate"):
        recipe, detail = record.detail["recipe"], record.detail
        if recipe["loss"] == GATE_DEFAULTS["loss"] and recipe["k"] == GATE_DEFAULTS["k"]:
            means = detail["target"]["train"]["mean"], detail["chosen"]["train"]["mean"]
            found.setdefault(Cell.from_json(record.cell).system, []).append((recipe["beta"], *means))
    said = []
    for system, gates in found.items():
        _, *columns = zip(*sorted(gates), strict=True)
        rises = [max((b - a for a, b in itertools.pairwise(means)), default=0.0) for means in columns]
        targets, trained = (f"at most {rise:.2f} layers" if rise > 0 else "never" for rise in rises)
        said.append(f"{system}: targets {targets}, gates {trained}")
    return f"Mean exits that rise with beta, which should fall: {'; '.join(said)}." if said else ""


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
    """What each gate is worth beside chance and an oracle, in points of PQ with 95% intervals over images."""
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
                "mean image PQ": f"{image['gate']['value']:.1f}",
                "of random exits": f"{image['random']['value']:.1f}",
                "of the oracle": f"{image['oracle']['value']:.1f}",
                "the oracle's gain": _estimate(image["gain"]),
                "share of it won": "-" if image["share"] is None else _estimate(image["share"], 100, "%"),
            }
        )
    return pd.DataFrame(rows)


def fixed_table(records: Sequence[Record]) -> pd.DataFrame:
    """Each gate's PQ minus that of all images at one exit, in points with 95% intervals over images, paired."""
    rows = []
    for record in measured(records, "gate"):
        value = record.detail["value"]["dataset"]
        rows.append(
            {
                "system": Cell.from_json(record.cell).system,
                **_recipe(record.detail["recipe"]),
                "mean exit": f"{value['mean_exit']:.2f}",
                "elsewhere": f"{100 * _elsewhere(record):.0f}%",
                "PQ minus the neighbouring exits'": _estimate(value["over_mix"]),
                **{f"minus exit {layer}'s": _estimate(one) for layer, one in value["over_fixed"].items()},
            }
        )
    return pd.DataFrame(rows).fillna("-")


def verdict(records: Sequence[Record]) -> str:
    """The answer to the three questions for every system, from the intervals alone.

    Gates that leave nearly all images after one exit choose nothing, and a few images carry no interval: they are
    named, not counted. Gates with the same choices count once.
    """
    systems: dict[str, list[Record]] = {}
    for record in measured(records, "gate"):
        systems.setdefault(Cell.from_json(record.cell).system, []).append(record)
    return " ".join(_said(system, own) for system, own in systems.items())


def _said(system: str, records: Sequence[Record]) -> str:
    choosing = {str(r.detail["choices"]): r.detail["value"] for r in records if _elsewhere(r) >= LEAST_ELSEWHERE}
    values = list(choosing.values())
    begin = f"{system}: {len(values)} different gates of {len(records)} leave at least {LEAST_ELSEWHERE:.0%} of the "
    if not values:
        return f"{begin}images after another exit than most."
    chance = _counts(value["dataset"]["over_random"] for value in values)
    mix = _counts(value["dataset"]["over_mix"] for value in values)
    fixed = _counts(_over_best(value["dataset"]) for value in values)
    shares = [value["image"]["share"] for value in values if value["image"]["share"] is not None]
    return (
        f"{begin}images after another exit than most. Of these, {fixed} than the best fixed exit that is no deeper; "
        f"{mix} than the two fixed exits beside their depth; {chance} than the same exits dealt by chance; "
        f"{sum(map(_above, shares))} of {len(shares)} win a share of what an oracle could gain."
    )


def _counts(estimates: Iterable[Mapping[str, float]]) -> str:
    found = list(estimates)
    return f"{sum(map(_above, found))} are better and {sum(map(_below, found))} worse"


def _over_best(value: Mapping[str, Any]) -> Mapping[str, float]:
    """The gate minus the best of the fixed exits that are no deeper than it is on average."""
    allowed = [layer for layer in value["fixed"] if int(layer) <= value["mean_exit"] + 1e-9]
    best = max(allowed, key=lambda layer: value["fixed"][layer]["value"])
    answer: Mapping[str, float] = value["over_fixed"][best]
    return answer


def _elsewhere(record: Record) -> float:
    """Share of the validation images that do not leave after the gate's commonest exit."""
    images = record.detail["chosen"]["val"]["images"].values()
    return 1 - max(images) / sum(images)


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

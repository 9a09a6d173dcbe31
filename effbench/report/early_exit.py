"""Tables of early exit: quality at every exit, gates and what they are worth, and what printed costs imply."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from effbench.report.table import GIGA, places
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Published

MEAN_EXIT = "gmacs_encoder_gated"


def exits_table(records: Sequence[Record]) -> pd.DataFrame:
    """PQ in percent at every exit, by how the exits were trained: mean over seeds, and lowest to highest of several."""
    rows = []
    for place in places(_of(records, "exits")):
        cell, exits = Cell.from_json(place[0].cell), place[0].detail["exits"]
        pqs = {layer: [record.detail["exits"][layer]["all"]["pq"] for record in place] for layer in exits}
        rows.append(
            {
                "system": cell.system,
                "trained": place[0].detail["recipe"]["exit_loss"],
                "seeds": str(len(place)),
                **{f"exit {layer}": _span(found) for layer, found in pqs.items()},
            }
        )
    return pd.DataFrame(rows).fillna("-")


def best_exits_table(records: Sequence[Record]) -> pd.DataFrame:
    """Share of the images whose PQ is highest at an exit, the earliest of several, and the mean PQ of images there."""
    rows = []
    for record in _of(records, "derivation"):
        for split, counts in record.detail["best_exits"].items():
            total, mean = sum(counts.values()), record.detail["mean_pq"][split]
            shown = {f"exit {k}": f"{100 * n / total:.0f}% ({mean[k]:.1f})" for k, n in counts.items()}
            system = Cell.from_json(record.cell).system
            rows.append({"system": system, "images": f"{split}, {total}", **shown})
    return pd.DataFrame(rows).fillna("-")


def gates_table(records: Sequence[Record]) -> pd.DataFrame:
    """Every gate: its trade-off, how deep its targets and its choices go on average, the quality that they give."""
    rows = []
    for record in _of(records, "gate"):
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


def value_table(records: Sequence[Record]) -> pd.DataFrame:
    """What each gate is worth, in points of PQ with 95% intervals over images."""
    rows = []
    for record in _of(records, "gate"):
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


def ledger_table(records: Sequence[Record]) -> pd.DataFrame:
    """The gated model against the full one, image by image in turn: layers, MACs and milliseconds saved."""
    rows = []
    for record in _of(records, "ledger"):
        mean, gate = record.detail["mean"], record.detail["gate_s"]
        rows.append(
            {
                "system": Cell.from_json(record.cell).system,
                "beta": f"{record.detail['gate']['beta']:g}",
                "images": str(len(record.detail["images"])),
                "layers that ran": f"{mean['layers']:.2f} of {mean['full_layers']:.0f}",
                "encoder MACs saved": _saved(mean["macs"], mean["full_macs"]),
                "encoder ms, gated / full": f"{1e3 * mean['encoder_s']:.2f} / {1e3 * mean['full_encoder_s']:.2f}",
                "encoder ms saved": _saved(mean["encoder_s"], mean["full_encoder_s"]),
                "pass ms, gated / full": f"{1e3 * mean['total_s']:.2f} / {1e3 * mean['full_total_s']:.2f}",
                "pass ms saved": _saved(mean["total_s"], mean["full_total_s"]),
                "gate, ms": f"{1e3 * statistics.fmean(gate):.3f}",
                "mean PQ of an image, gated / full": f"{mean['pq']:.1f} / {mean['full_pq']:.1f}",
            }
        )
    return pd.DataFrame(rows)


def batches_table(records: Sequence[Record]) -> pd.DataFrame:
    """Whole batches by the gate and in full: how much of what single images save is left."""
    rows = []
    for record in _of(records, "ledger"):
        for size, batch in record.detail["batches"].items():
            gated, full = (1e3 * statistics.fmean(batch[f"{name}_s"]) / int(size) for name in ("gated", "full"))
            rows.append(
                {
                    "system": Cell.from_json(record.cell).system,
                    "beta": f"{record.detail['gate']['beta']:g}",
                    "batch": size,
                    "batches": str(len(batch["gated_s"])),
                    "layers per image": f"{batch['layers_per_image']:.2f}",
                    "encoder ms per image, gated / full": f"{gated:.2f} / {full:.2f}",
                    "saved": _saved(gated, full),
                }
            )
    return pd.DataFrame(rows)


def _saved(gated: float, full: float) -> str:
    return f"{100 * (1 - gated / full):.1f}%"


def verdict(records: Sequence[Record]) -> str:
    """The answer to the three questions for every system, from the intervals alone."""
    systems: dict[str, list[Mapping[str, Any]]] = {}
    for record in _of(records, "gate"):
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


def macs_table(records: Sequence[Record]) -> pd.DataFrame:
    """Encoder / total GMACs in the papers' convention of images that leave at an exit."""
    rows: dict[str, dict[str, str]] = {}
    for record in _of(records, "macs"):
        cell, papers = Cell.from_json(record.cell), record.detail["papers"]
        if "exit" in cell.options:
            model = {"system": cell.system, "backbone": cell.backbone, "input": cell.size}
            shown = f"{papers['encoder'] / GIGA:.3f} / {papers['total'] / GIGA:.3f}"
            rows.setdefault(str(model), {**model})[f"exit {cell.options['exit']}"] = shown
    return pd.DataFrame(rows.values()).fillna("-")


def implied_table(records: Sequence[Record], published: Sequence[Published]) -> pd.DataFrame:
    """The mean exit that every printed cost of a gated encoder implies: on the line through our counts."""
    counts: dict[tuple[str, str, str], dict[int, float]] = {}
    for record in _of(records, "macs"):
        cell = Cell.from_json(record.cell)
        if "exit" in cell.options and not cell.width:
            encoder = record.detail["papers"]["encoder"] / GIGA
            counts.setdefault((cell.system, cell.backbone, cell.size), {})[cell.options["exit"]] = encoder
    rows = []
    for claim in published:
        known = counts.get((claim.system, claim.backbone, claim.size), {})
        if claim.metric == MEAN_EXIT and len(known) > 1:
            rows.append(
                {
                    "system": claim.system,
                    "backbone": claim.backbone,
                    "input": claim.size,
                    "printed GFLOPs": f"{claim.value:.2f}",
                    "implied mean exit": f"{implied_exit(claim.value, known):.2f}",
                    "our GMACs at its exits": ", ".join(f"{k}: {macs:.2f}" for k, macs in sorted(known.items())),
                    "source": claim.source,
                }
            )
    return pd.DataFrame(rows)


def implied_exit(gmacs: float, known: Mapping[int, float]) -> float:
    """The mean exit of images that take `gmacs` on average, from `known`: exit -> GMACs, on a line."""
    first, last = min(known), max(known)
    return first + (gmacs - known[first]) * (last - first) / (known[last] - known[first])


def _above(estimate: Mapping[str, float]) -> bool:
    return estimate["low"] > 0


def _below(estimate: Mapping[str, float]) -> bool:
    return estimate["high"] < 0


def _of(records: Sequence[Record], probe: str) -> list[Record]:
    return [record for record in records if record.probe == probe and record.status == "ok"]


def _recipe(recipe: Mapping[str, Any]) -> dict[str, str]:
    return {"beta": f"{recipe['beta']:g}", "K": str(recipe["k"] or "all"), "loss": recipe["loss"]}


def _span(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _estimate(estimate: Mapping[str, float], scale: float = 1.0, unit: str = "") -> str:
    value, low, high = (scale * estimate[name] for name in ("value", "low", "high"))
    digits = 0 if unit == "%" else 2
    return f"{value:+.{digits}f}{unit} ({low:+.{digits}f}{unit} to {high:+.{digits}f}{unit})"

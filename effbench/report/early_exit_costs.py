"""Tables of what early exit costs: its steps, the passes that a gate saves, and the exits that printed costs imply."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import pandas as pd

from effbench.report.table import GIGA, Place, measured, places
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Published

MEAN_EXIT = "gmacs_encoder_gated"


def steps_table(records: Sequence[Record]) -> pd.DataFrame:
    """Seconds of the three steps, for the model that gates are of."""
    trained = {record.cell_id: record.detail["seconds"]["training"] for record in measured(records, "exits")}
    rows = []
    for record in measured(records, "derivation"):
        system = Cell.from_json(record.cell).system
        gates = [r.samples[0] for r in measured(records, "gate") if Cell.from_json(r.cell).system == system]
        rows.append(
            {
                "system": system,
                "step A, s": f"{trained[record.cell_id]:.0f}" if record.cell_id in trained else "-",
                "its training steps": str(record.cell["options"]["recipe"]["steps"]),
                "step B, s": f"{record.samples[0]:.0f}",
                "its images": str(record.detail["images"]["train"]),
                "step C, s": f"{statistics.median(gates):.1f}" if gates else "-",
                "gates": str(len(gates)),
            }
        )
    return pd.DataFrame(rows)


def ledger_table(records: Sequence[Record]) -> pd.DataFrame:
    """The gated model against the full one, image by image in turn: layers, MACs and milliseconds saved."""
    rows = []
    for place in places(measured(records, "ledger")):
        means = [record.detail["mean"] for record in place]
        mean, gate = means[0], [seconds for record in place for seconds in record.detail["gate_s"]]
        rows.append(
            {
                **_model(place),
                "images": str(len(place[0].detail["images"])),
                "processes": str(len(place)),
                "layers that ran": f"{mean['layers']:.2f} of {mean['full_layers']:.0f}",
                "encoder MACs saved": f"{100 * _saved(mean, 'macs'):.1f}%",
                "encoder ms, gated / full": _milliseconds(means, "encoder_s"),
                "encoder ms saved": _percent([_saved(own, "encoder_s") for own in means]),
                "pass MACs saved": f"{100 * _saved(mean, 'total_macs'):.1f}%",
                "pass ms, gated / full": _milliseconds(means, "total_s"),
                "pass ms saved": _percent([_saved(own, "total_s") for own in means]),
                "gate, ms": f"{1e3 * statistics.median(gate):.3f}",
                "mean PQ of an image, gated / full": f"{mean['pq']:.1f} / {mean['full_pq']:.1f}",
            }
        )
    return pd.DataFrame(rows)


def rates_table(records: Sequence[Record]) -> pd.DataFrame:
    """Why the time saved is not the MACs saved: what the layers that were left out take per GMAC, and the gate."""
    rows = []
    for place in places(measured(records, "ledger")):
        means = [record.detail["mean"] for record in place]
        gate = [statistics.fmean(record.detail["gate_s"]) for record in place]
        whole = [mean["full_encoder_s"] / mean["full_macs"] for mean in means]
        left_out = [
            (mean["full_encoder_s"] - mean["encoder_s"] + own) / (mean["full_macs"] - mean["macs"])
            for mean, own in zip(means, gate, strict=True)
            if mean["full_macs"] > mean["macs"]
        ]
        gates = [own / mean["full_encoder_s"] for mean, own in zip(means, gate, strict=True)]
        rows.append(
            {
                **_model(place),
                "ms per GMAC, whole encoder": f"{1e12 * statistics.median(whole):.1f}",
                "of the layers left out": f"{1e12 * statistics.median(left_out):.1f}" if left_out else "-",
                "MACs saved": f"{100 * _saved(means[0], 'macs'):.1f}%",
                "ms saved": _percent([_saved(mean, "encoder_s") for mean in means]),
                "the gate takes": _percent(gates),
            }
        )
    return pd.DataFrame(rows)


def batches_table(records: Sequence[Record]) -> pd.DataFrame:
    """Whole batches by the gate and in full: how much of what single images save is left."""
    rows = []
    for place in places(measured(records, "ledger")):
        for size in place[0].detail["batches"]:
            own = [record.detail["batches"][size] for record in place]
            gated, full = (
                [1e3 * statistics.fmean(batch[f"{name}_s"]) / int(size) for batch in own] for name in ("gated", "full")
            )
            medians = f"{statistics.median(gated):.2f} / {statistics.median(full):.2f}"
            rows.append(
                {
                    **_model(place),
                    "batch": size,
                    "batches": str(len(own[0]["gated_s"])),
                    "layers per image": f"{own[0]['layers_per_image']:.2f}",
                    "encoder ms per image, gated / full": medians,
                    "saved": _percent([1 - one / other for one, other in zip(gated, full, strict=True)]),
                }
            )
    return pd.DataFrame(rows)


def _model(place: Place) -> dict[str, str]:
    return {"system": Cell.from_json(place[0].cell).system, "beta": f"{place[0].detail['gate']['beta']:g}"}


def _milliseconds(means: Sequence[Mapping[str, float]], name: str) -> str:
    gated, full = (1e3 * statistics.median(mean[key] for mean in means) for key in (name, f"full_{name}"))
    return f"{gated:.2f} / {full:.2f}"


def _saved(mean: Mapping[str, float], name: str) -> float:
    """Share of the full pass's seconds or MACs."""
    return 1 - mean[name] / mean[f"full_{name}"]


def _percent(shares: Sequence[float]) -> str:
    """The median of the processes, and the lowest to the highest of several."""
    median = f"{100 * statistics.median(shares):.1f}%"
    return median if len(shares) == 1 else f"{median} ({100 * min(shares):.1f} to {100 * max(shares):.1f})"


def macs_table(records: Sequence[Record]) -> pd.DataFrame:
    """Encoder / total GMACs in the papers' convention of images that leave at an exit."""
    rows: dict[str, dict[str, str]] = {}
    for record in measured(records, "macs"):
        cell, papers = Cell.from_json(record.cell), record.detail["papers"]
        if "exit" in cell.options:
            model = {"system": cell.system, "backbone": cell.backbone, "input": cell.size}
            shown = f"{papers['encoder'] / GIGA:.3f} / {papers['total'] / GIGA:.3f}"
            rows.setdefault(str(model), {**model})[f"exit {cell.options['exit']}"] = shown
    return pd.DataFrame(rows.values()).fillna("-")


def implied_table(records: Sequence[Record], published: Sequence[Published]) -> pd.DataFrame:
    """The mean exit that every printed cost of a gated encoder implies: on the line through our counts."""
    counts: dict[tuple[str, str, str], dict[int, float]] = {}
    for record in measured(records, "macs"):
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


def gmacs_at(exit: float, known: Mapping[int, float]) -> float:
    """The count at a mean exit, on the line through `known`: exit -> GMACs."""
    first, last = min(known), max(known)
    return known[first] + (exit - first) * (known[last] - known[first]) / (last - first)

"""The part of a report that is about Mask2Former's whole encoder: whose code it is, in which form, how fast."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from effbench.report.kernels import OURS as OUR_OPERATORS
from effbench.report.markdown import section
from effbench.report.table import places
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.statistics import across_processes

OURS, NO_TIME = "effbench", float("nan")


def sections(records: Sequence[Record]) -> list[str]:
    """Markdown of the records of probe `encoder`, those that are wrong included; of other studies nothing."""
    return section(
        "The whole encoder",
        "Median ms of a forward of Mask2Former's pixel decoder, from backbone maps to mask features and three scales. "
        "`transformers` is that library's, which takes the steps of Mask2Former's release one by one, with its own "
        "PyTorch operator or with another in its place. `times faster` is against the fastest of these that is right "
        f"in float32 on the same maps, with an operator that is not ours ({', '.join(OUR_OPERATORS)}). Errors are root "
        "mean square over that of the truth, of the mask features and of the worst map, against the encoder in "
        "float64 with the same weights; what is above its limit has no time.",
        table(records),
    )


def table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each implementation and form, fastest first within an image."""
    found = [r for r in records if r.probe == "encoder" and r.status in ("ok", "invalid")]
    rows = []
    for place in places(found):
        wrong = [record for record in place if record.status == "invalid"]
        shown = (wrong or place)[0]
        cell, detail, waits = Cell.from_json(shown.cell), shown.detail, shown.detail.get("synchronisations")
        errors = {name: error["rms"] for name, error in detail["outputs"].items()}
        rows.append(
            {
                "image": f"{cell.dataset} {cell.size}, batch {cell.batch}",
                "encoder": cell.options["implementation"],
                "operator": shown.implementation["ms_deform_attn"],
                "form": f"{cell.device}, {cell.conditions}",
                "group": f"{cell.dataset} {cell.size}, batch {cell.batch}, {cell.device}",
                "baseline": cell.options["implementation"] != OURS
                and cell.options.get("op") not in OUR_OPERATORS
                and cell.precision == "float32",
                "seconds": NO_TIME if wrong else across_processes([list(r.samples) for r in place]).median,
                "waits": "-" if waits is None else str(waits),
                "error": f"{errors['mask_features']:.1e} / {max(errors.values()):.1e} (at most {detail['limit']:.0e})",
            }
        )
    if not rows:
        return pd.DataFrame()
    numbers = pd.DataFrame(rows).sort_values(["image", "seconds"], kind="stable")
    base = numbers["group"].map(numbers[numbers["baseline"]].groupby("group")["seconds"].min())
    return pd.DataFrame(
        {
            **{name: numbers[name] for name in ("image", "encoder", "operator", "form")},
            "ms": [f"{1000 * s:.2f}" if s == s else "**wrong**" for s in numbers["seconds"]],
            "times faster": [f"{ratio:.2f}" if ratio == ratio else "-" for ratio in base / numbers["seconds"]],
            **({"waits": numbers["waits"]} if (numbers["waits"] != "-").any() else {}),
            "error": numbers["error"],
        }
    )

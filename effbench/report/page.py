"""The report of a study: results/<machine>/<suite>/<profile>/README.md and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from effbench.report import table
from effbench.report.figures import trade_off
from effbench.study.record import Record
from effbench.study.suite import Plan, Suite

FIGURE = "trade_off.png"


def write(folder: Path, suite: Suite, plan: Plan, records: Sequence[Record], command: str) -> pd.DataFrame:
    """Write README.md and the figure into `folder`; returns the main table as it is shown there.

    `records` are all of the folder's; the last one of each of the plan's tasks counts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = table.latest(records, plan.tasks)
    numbers = table.main_table(shown, plan, suite.published)
    text = table.formatted(numbers, plan.profile)
    figure = trade_off(numbers, table.quality_intervals(shown), folder / FIGURE)
    sections = [
        f"# {suite.name}, profile {plan.profile}",
        f"*{suite.question}*",
        "\n".join(f"- {note}" for note in plan.notes),
        "## Systems",
        table.LEGEND[plan.profile],
        _markdown(text.rename_axis("system").reset_index()),
        f"![Quality against cost]({FIGURE})" if figure else "",
        *_printed(shown, suite),
        *_quality(shown),
        *_counts(shown, plan),
        "## Times",
        "Host clock around the encoder's forward, device synchronised; one process per system, alone on the machine; "
        "all samples are in records.jsonl.",
        _markdown(table.timing_table(shown)),
        *_checks(shown),
        *_troubles(shown, plan),
        "## How this was made",
        _provenance(shown, command),
    ]
    (folder / "README.md").write_text("\n\n".join(section for section in sections if section) + "\n")
    return text


def _printed(records: Sequence[Record], suite: Suite) -> list[str]:
    sizes = {record.cell["size"] for record in records if str(record.cell["size"]).startswith("coco:first")}
    if not sizes:
        return []
    size = sizes.pop()
    return [
        "## Printed GFLOPs",
        f"Counted at the input that the paper used ({size}: the total is the mean over these images of val2017, the "
        "encoder is that of the last one). One GFLOP in print is one giga multiply-accumulate.",
        _markdown(table.printed_table(records, suite.published, size)),
    ]


def _quality(records: Sequence[Record]) -> list[str]:
    rows = table.quality_table(records)
    return (
        ["## Quality", "Percent, on validation images that nothing was tuned on.", _markdown(rows)] if len(rows) else []
    )


def _counts(records: Sequence[Record], plan: Plan) -> list[str]:
    size = "data" if plan.profile == "smoke" else "coco"
    return [
        "## Multiply-accumulates by component",
        "GMACs per image in the papers' convention, ResNet-50 and 133 classes. `other` is the encoder's top-down "
        "resize, which the papers' tool leaves out of the encoder. The complete convention adds the deformable "
        "sampling and the masked attention's QK^T.",
        _markdown(table.components_table(records, size)),
    ]


def _checks(records: Sequence[Record]) -> list[str]:
    rows = [
        {
            "ground truth against itself": record.cell["dataset"],
            "images": str(len(record.detail["per_image"])),
            "PQ": f"{record.samples[0]:.2f}",
        }
        for record in records
        if record.probe == "ground_truth" and record.status == "ok"
    ]
    return ["## Reader and metric", _markdown(pd.DataFrame(rows))] if rows else []


def _troubles(records: Sequence[Record], plan: Plan) -> list[str]:
    found = {(record.cell_id, record.probe): record for record in records}
    lines = []
    for task in plan.tasks:
        record = found.get((task.cell.id, task.probe))
        if record is None:
            lines.append(f"- {task.title}: not measured yet")
        elif record.status != "ok":
            lines.append(f"- {task.title}: {record.status}, {record.reason}")
    return ["## Not measured", "\n".join(lines)] if lines else []


def _provenance(records: Sequence[Record], command: str) -> str:
    environments = {str(sorted(record.environment.items())): record.environment for record in records}
    commits = sorted({f"{r.commit or 'no checkout'}{' with local changes' if r.dirty else ''}" for r in records})
    seconds = sum(record.seconds for record in records)
    lines = [f"- Command: `{command}`", f"- Commit: {', '.join(commits)}"]
    lines += [
        "- Machine: " + ", ".join(f"{name} {value}" for name, value in environment.items() if value is not None)
        for environment in environments.values()
    ]
    if len(environments) > 1:
        lines.append("- The records come from more than one environment: their times must not be compared.")
    lines.append(f"- {len(records)} records, {seconds:.0f} s of measuring in all (tasks run side by side).")
    lines.append("- Raw samples, settings and recipes of every number: records.jsonl beside this page.")
    for record in records:
        if record.probe == "warm_start" and record.status == "ok":
            detail = record.detail
            where = "found in the cache" if detail["cached"] else "made in this run"
            lines.append(
                f"- Warm start: {where}, {detail['training_seconds']:.0f} s of training, shared by all systems."
            )
    return "\n".join(lines)


def _markdown(frame: pd.DataFrame) -> str:
    return str(frame.to_markdown(index=False, disable_numparse=True)) if len(frame) else ""

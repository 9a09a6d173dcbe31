"""The report of a study: results/<machine>/<suite>/<profile>/README.md and its figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from effbench.files import replacing
from effbench.report import costs, early_exit_sections, kernels, precision, quality, ranking, table, whole_encoder
from effbench.report.figures import savings, trade_off
from effbench.report.markdown import markdown, section
from effbench.study.record import Record
from effbench.study.runner import task_key
from effbench.study.suite import Column, Plan, Suite

FIGURE, SAVINGS = "trade_off.png", "savings.png"


def write(folder: Path, suite: Suite, plan: Plan, records: Sequence[Record], command: str) -> pd.DataFrame:
    """Write README.md and the figure into `folder`; returns the main table as it is shown there.

    `records` are all of the folder's; the last one of each of the plan's tasks counts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    latest = table.latest(records, plan.tasks)
    shown = table.complete(latest, plan.tasks)
    numbers = table.main_table(shown, plan, suite.published)
    text = table.formatted(numbers, plan.columns)
    drawn = plan.figure and trade_off(numbers, plan.figure, _intervals(plan, shown), folder / FIGURE)
    saved = plan.savings and savings(numbers, plan.savings, plan.baseline, _rounds(plan, shown), folder / SAVINGS)
    printed = table.printed_table(shown, suite.published)
    sections = [
        f"# {suite.name}, profile {plan.profile}",
        f"*{suite.question}*",
        "\n".join(f"- {note}" for note in plan.notes),
        "## Systems" if plan.columns else "",
        plan.legend if plan.columns else "",
        *_systems(text, plan),
        f"![Quality against cost]({FIGURE})" if drawn else "",
        f"![Time saved against multiply-accumulates saved]({SAVINGS})" if saved else "",
        *section(
            "Printed GFLOPs",
            "One GFLOP in print is one giga multiply-accumulate. Under coco:firstN, as the papers' tool has it, the "
            "total is the mean over the first N images of val2017 and the encoder is that of the last one.",
            printed,
        ),
        "\n".join(f"- {remark}" for remark in suite.remarks) if len(printed) or not plan.columns else "",
        *section(
            "Quality",
            "Percent, on validation images that nothing was tuned on.",
            quality.quality_table(shown),
        ),
        *_ranking(shown, plan),
        *section(
            "Difference to the baseline",
            "Mean over seeds of the difference to the baseline of the same seed, with the paired bootstrap over the "
            "validation images: how much the images may move it. How much another seed would, the differences of "
            "single seeds say.",
            quality.difference_table(shown, plan.baseline),
        ),
        *section(
            "Quality by size",
            "Percent, stuff included, over the classes that have true segments of the size: small is below 32 x 32 "
            "pixels, medium below 96 x 96.",
            quality.size_table(shown),
        ),
        *section(
            "Harder parts, each scored apart",
            "Percent, over the classes that a part is about, on images of its own. `context`: two classes that only a "
            "beacon elsewhere in the image tells apart, so that who always names one of them gets about half of what "
            "finding them is worth. `twins`: touching things of one class. `thin`: small things of thin lines.",
            quality.parts_table(shown),
        ),
        *early_exit_sections.sections(shown, suite.published, folder),
        *whole_encoder.sections(latest),  # these two with those that are wrong, which have no number
        *kernels.sections(latest, folder),
        *section(
            "Multiply-accumulates of all systems",
            "GMACs per image in the papers' convention, encoder / total; coco is the exact mean over val2017's image "
            "sizes. Under coco:firstN the encoder is the last image's and the total is the mean.",
            table.macs_table(shown),
        ),
        *section(
            "Multiply-accumulates by component",
            "GMACs per image in the papers' convention. `other` is the encoder's top-down resize, which the papers' "
            "tool leaves out of the encoder.",
            table.components_table(shown),
        ),
        *section(
            "What the papers' convention leaves out",
            "GMACs per image and operator, which the complete convention adds.",
            table.left_out_table(shown),
        ),
        *section(
            "Times",
            "One forward of the encoder on a batch, on the device's clock where it has one, else on the host's; no "
            "other task of the run beside it. A process is one observation: p50 is the median of the processes' "
            "medians, `between processes` their standard deviation in percent of it, p90 that of all samples. One "
            "process cannot show how much processes differ, so that small differences mean nothing (`effbench aa` "
            "measures how small). The canary is one small matrix product, timed before and after; the one that moved "
            "most is shown. All samples are in records.jsonl.",
            table.timing_table(shown),
        ),
        *section(
            "Where the time of a pass goes",
            "Mean ms of the whole pass, from a batch of images to the answers of the three tasks, by component: host "
            "clock, device synchronised at every boundary. The components' sum is held against the pass that they were "
            "timed in, and against passes without boundaries that took turns with it. Weights are fresh, so that the "
            "post-processing has next to no segments to paint.",
            costs.where_time_goes(shown),
        ),
        *section(
            "What bounds each part",
            "Rates against ceilings that were measured in the same process: of the faster of a matrix product and a "
            "3x3 convolution, and of a copy. Bytes are the least that must be moved (inputs, outputs, weights), so "
            "that `memory` is certain and `compute` is the most that can be said; a part far below both ceilings is "
            "bound by how it is written. `launch`: the device waits for the host. MACs are those of the complete "
            "convention.",
            costs.rooflines(shown),
        ),
        *section("Ceilings", "Median, and lowest to highest, of all processes.", costs.ceilings(shown)),
        *section(
            "Memory",
            "Most bytes, of a batch, that PyTorch's allocator gives out above what lives when it begins: in the "
            "encoder's forward (weights and the maps that it reads live then) and in the whole pass (weights and "
            "images).",
            costs.memory_table(shown),
        ),
        *section(
            "What fewer bits change",
            "Error of the maps that an encoder gives against the same encoder in float64: root mean square (largest), "
            "over the root mean square of the map. Fresh weights, random images; weights, inputs and arithmetic are "
            "all rounded.",
            precision.precision_table(shown),
        ),
        *section(
            "Energy",
            "Joules of the whole pass per image, above those of the idle device; mean of the windows.",
            costs.energy_table(shown),
        ),
        *_checks(shown),
        *_troubles(latest, plan),
        "## How this was made",
        _provenance(latest, plan, command),
    ]
    with replacing(folder / "README.md") as file:
        file.write(("\n\n".join(section for section in sections if section) + "\n").encode())
    return text


def _systems(text: pd.DataFrame, plan: Plan) -> list[str]:
    """The main table, if the plan has one; times under several conditions stand in a table for each."""
    if not plan.columns:
        return []
    conditions = {column.title: column.conditions for column in plan.columns}
    apart: dict[str | None, list[str]] = {}
    at: str | None = None
    for title in text.columns:
        at = conditions.get(title, at)  # a printed number or a ratio stands behind the column that it is of
        apart.setdefault(at, []).append(title)
    if len(apart) <= 2:
        return [markdown(text.rename_axis("system").reset_index())]
    tables = [markdown(text[titles].rename_axis("system").reset_index()) for titles in apart.values()]
    return [part for at, shown in zip(apart, tables, strict=True) for part in (f"### {at}" if at else "", shown)]


def _intervals(plan: Plan, records: Sequence[Record]) -> dict[str, tuple[float, float]]:
    """system -> interval of the quality that the figure shows."""
    assert plan.figure is not None
    filled = table.filling(_column(plan, plan.figure.y[0]), records)
    return {name: quality.pq_span(place) for name, place in filled.items()}


def _rounds(plan: Plan, records: Sequence[Record]) -> dict[str, dict[str, list[float]]]:
    """column -> system -> its ratios to the baseline, of the times that the figure shows."""
    assert plan.savings is not None
    columns = [_column(plan, title) for title in plan.savings.times]
    return {c.title: table.ratios(c, table.filling(c, records), plan.baseline) for c in columns}


def _column(plan: Plan, title: str) -> Column:
    return next(column for column in plan.columns if column.title == title)


def _ranking(records: Sequence[Record], plan: Plan) -> list[str]:
    seeds = ranking.seeds_table(records)
    if plan.ranking is None or not len(seeds):
        return []
    trained = {task.cell.system: None for task in plan.tasks if task.probe == "quality"}
    ranked, why = ranking.verdict(records, plan.ranking, list(trained))
    if not ranked:
        order = {name: place for place, name in enumerate(table.systems(plan))}
        seeds = seeds.sort_values("system", key=lambda names: names.map(order))
    what = (
        "A seed changes the encoder's first weights, the batches and the augmentation. The warm start of backbone and "
        "decoder is one for all."
    )
    return section("Quality over seeds", f"{why} {what}", seeds)


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
    return section("Reader and metric", "", pd.DataFrame(rows))


def _troubles(records: Sequence[Record], plan: Plan) -> list[str]:
    """What has no number, and why; tasks with the same reason stand together."""
    found = {(record.cell_id, record.probe): record for record in records}
    reasons: dict[str, list[str]] = {}
    for task in plan.tasks:
        record = found.get((task.cell.id, task.probe))
        if record is None:
            reasons.setdefault("not measured yet", []).append(task.title)
        elif record.status != "ok":
            reasons.setdefault(f"{record.status}, {record.reason}", []).append(task.title)
    lines = [f"- {'; '.join(titles)}: {reason}" for reason, titles in reasons.items()]
    return ["## Not measured", "\n".join(lines)] if lines else []


def _provenance(records: Sequence[Record], plan: Plan, command: str) -> str:
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
    today = {task_key(task) for task in plan.tasks}
    if old := sum(record.key not in today for record in records):
        lines.append(f"- {old} records are of other sources, libraries or machines than those at hand now.")
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

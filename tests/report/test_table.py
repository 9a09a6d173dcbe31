"""The table: every number from a record, and a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import pytest

from effbench.report import table
from effbench.study.record import Record
from effbench.study.suite import Column, Plan, Suite, Task
from effbench.suites.coco import MAC_SIZES
from effbench.suites.systems import COUNTED, SYSTEMS

Answer = Callable[..., Record]
ALL = [system.label for system in COUNTED]
LAST = len(ALL)
TRAINED = [system.label for system in SYSTEMS]
NUMBERS = [ALL.index(name) + 1 for name in TRAINED]
"""Of the systems that are trained; those that are only counted have the others from 1 to 10."""


def answers(tasks: Sequence[Task], answer: Answer) -> list[Record]:
    return [answer(task) for task in tasks]


def of(tasks: Sequence[Task], system: str, probe: str, narrow: bool) -> list[Task]:
    return [t for t in tasks if (t.cell.system, t.probe, bool(t.cell.width)) == (system, probe, narrow)]


@pytest.fixture
def numbers(quick: Plan, suite: Suite, answer: Answer) -> pd.DataFrame:
    return table.main_table(answers(quick.tasks, answer), quick, suite.published)


def test_one_row_per_system_in_the_suites_order(numbers: pd.DataFrame) -> None:
    assert list(numbers.index) == ALL


@pytest.mark.parametrize(
    ("column", "factor", "offset"),
    [
        ("encoder GMACs", 100, 0),
        ("total GMACs", 100, 80),
        ("encoder M parameters", 1, 0.25),
        ("encoder ms", 100, 0),  # the median: the sample that lies far out does not move it
        ("narrow encoder GMACs", 0.1, 0),
        ("narrow encoder ms", 10, 0),
        ("PQ", 1, 40),
        ("PQ things", 1, 30),
        ("PQ stuff", 1, 50),
    ],
)
def test_numbers_are_those_of_the_records(column: str, factor: float, offset: float, numbers: pd.DataFrame) -> None:
    counted = column in ("encoder GMACs", "total GMACs", "encoder M parameters")
    expected = {name: factor * (ALL.index(name) + 1) + offset for name in (ALL if counted else TRAINED)}
    assert numbers[column].dropna().to_dict() == pytest.approx(expected)


def test_every_time_stands_beside_its_ratio_to_the_baseline(numbers: pd.DataFrame) -> None:
    columns = list(numbers.columns)
    for time in ("encoder ms", "narrow encoder ms"):
        ratio = columns[columns.index(time) + 1]
        assert "mask2former" in ratio
        assert list(numbers.loc[TRAINED, ratio]) == pytest.approx(NUMBERS)


def test_printed_numbers_stand_beside_ours(numbers: pd.DataFrame, suite: Suite) -> None:
    columns = list(numbers.columns)
    for metric, ours in (("gmacs_encoder", "encoder GMACs"), ("gmacs_total", "total GMACs")):
        printed = columns[columns.index(ours) + 1]
        assert "printed" in printed
        rows = [row for row in suite.published if (row.backbone, row.size) == ("r50", "coco:first30")]
        assert numbers[printed].dropna().to_dict() == {row.system: row.value for row in rows if row.metric == metric}
    assert math.isnan(numbers.loc["fpn", columns[columns.index("encoder GMACs") + 1]]), "no paper prints it"


def test_what_no_record_says_is_a_dash(quick: Plan, suite: Suite, answer: Answer) -> None:
    missing = of(quick.tasks, "fpn", "quality", narrow=True) + of(quick.tasks, "fpn", "latency", narrow=False)
    records = answers([task for task in quick.tasks if task not in missing], answer)
    text = table.formatted(table.main_table(records, quick, suite.published), quick.columns)
    assert text.loc["fpn", "PQ"] == text.loc["fpn", "encoder ms"] == "-"
    assert text.loc["fpn", "encoder ms / mask2former"] == "-"
    assert text.loc["fpn", "narrow encoder ms"] == f"{10 * LAST}.0"
    assert text.loc["mask2former", "PQ"] == "41.0"


@pytest.mark.parametrize("status", ["failed", "out_of_memory", "invalid", "skipped"])
def test_a_failed_record_is_no_number(status: str, quick: Plan, suite: Suite, answer: Answer) -> None:
    (bad,) = of(quick.tasks, "fpn", "quality", narrow=True)
    records = [answer(task, **({"status": status} if task is bad else {})) for task in quick.tasks]
    assert math.isnan(table.main_table(records, quick, suite.published).loc["fpn", "PQ"])


def test_without_the_baseline_there_are_no_ratios(quick: Plan, suite: Suite, answer: Answer) -> None:
    records = [answer(t) for t in quick.tasks if not (t.cell.system == "mask2former" and t.probe == "latency")]
    numbers = table.main_table(records, quick, suite.published)
    assert numbers["encoder ms / mask2former"].isna().all()
    assert numbers.loc["fpn", "encoder ms"] == pytest.approx(100 * LAST)


def test_without_any_record_there_are_rows_of_dashes(quick: Plan, suite: Suite) -> None:
    text = table.formatted(table.main_table([], quick, ()), quick.columns)
    assert list(text.index) == ALL
    assert set(text.to_numpy().ravel()) == {"-"}


def test_a_median_of_too_few_samples_is_not_shown(quick: Plan, suite: Suite, answer: Answer) -> None:
    (few,) = of(quick.tasks, "fpn", "latency", narrow=False)
    records = [answer(task, **({"samples": [0.4] * 10} if task is few else {})) for task in quick.tasks]
    text = table.formatted(table.main_table(records, quick, suite.published), quick.columns)
    assert text.loc["fpn", "encoder ms"] == "-"
    assert text.loc["mask2former", "encoder ms"] == "100"
    times = table.timing_table(records)
    assert list(times[(times["system"] == "fpn") & (times["samples of each"] == "10")]["p50, ms"]) == ["-"]


def test_smoke_shows_the_photos_numbers_and_says_smoke(smoke: Plan, suite: Suite, answer: Answer) -> None:
    numbers = table.main_table(answers(smoke.tasks, answer), smoke, suite.published)
    assert list(numbers.index) == ALL
    assert list(numbers["encoder GMACs"]) == pytest.approx([100 * n for n in range(1, LAST + 1)])
    assert list(numbers["encoder ms"].dropna()) == pytest.approx([100 * n for n in NUMBERS])
    quality = [column for column in numbers.columns if "PQ" in column]
    assert quality and all("smoke" in column for column in quality)
    assert list(numbers[quality[0]].dropna()) == pytest.approx([40 + n for n in NUMBERS])


def test_a_column_of_a_backbone_holds_that_backbones_numbers(costs: Plan, cityscapes: Suite, answer: Answer) -> None:
    numbers = table.main_table(answers(costs.tasks, answer), costs, cityscapes.published)
    assert list(numbers.index) == ALL
    assert list(numbers["r50 encoder GMACs"]) == pytest.approx([100 * n for n in range(1, LAST + 1)])
    assert list(numbers["swin_t encoder GMACs"]) == pytest.approx([100 * n + 1 for n in range(1, LAST + 1)])
    assert numbers.loc["mask2former", "r50 encoder GFLOPs printed"] == 291.00
    assert numbers.loc["mask2former", "swin_t total GFLOPs printed"] == 537.85, "of two papers, as the legend says"
    assert numbers["r50 total GFLOPs printed"].notna().sum() == 4, "M2F and three of PRO-SCALE"
    assert numbers["swin_t total GFLOPs printed"].notna().sum() == 8, "and Lite-M2F, with LPE, and RT-M2F twice"


def test_the_last_record_of_a_task_counts(quick: Plan, answer: Answer) -> None:
    first, second, *_ = quick.tasks
    old, new, other = answer(first, seconds=1.0), answer(first, seconds=2.0), answer(second)
    assert table.latest([old, other, new], quick.tasks) == [new, other], "in the order of the tasks"


def test_records_of_other_plans_do_not_count(quick: Plan, smoke: Plan, answer: Answer) -> None:
    assert table.latest(answers(smoke.tasks, answer), quick.tasks) == []


def test_printed_figures_are_compared_at_the_papers_input(quick: Plan, suite: Suite, answer: Answer) -> None:
    rows = table.printed_table(answers(quick.tasks, answer), suite.published)
    assert len(rows) == len(suite.published)
    ours = rows[(rows["system"] == "mask2former") & (rows["part"] == "encoder")]
    seen = ours[["backbone", "input", "printed GFLOPs", "ours, GMACs", "difference", "source"]].to_numpy().tolist()
    assert seen == [
        ["r50", "coco:first30", "135.00", "100.00", "-25.93%", "PRO-SCALE, Table 1"],
        ["swin_t", "coco:first100", "117.00", "101.00", "-13.68%", "PRO-SCALE, Table 1"],
        ["swin_t", "coco", "121.69", "111.00", "-8.78%", "ECO-M2F, Table 1"],
        ["r50", "coco", "126.05", "110.00", "-12.73%", "ECO-M2F, Table 8"],
    ]


def test_all_systems_stand_at_all_inputs(quick: Plan, answer: Answer) -> None:
    rows = table.macs_table(answers(quick.tasks, answer))
    inputs = [f"{backbone}, {size}" for backbone in ("r50", "swin_t") for size in MAC_SIZES]
    assert list(rows.columns) == ["system", *inputs, "r50, 512x512"], "the narrow models have a table of their own"
    assert list(rows["system"]) == ALL
    assert rows.iloc[2].tolist()[1:] == [
        *("310.00 / 390.00", "300.00 / 380.00", "300.00 / 380.00"),
        *("311.00 / 391.00", "301.00 / 381.00", "301.00 / 381.00", "300.00 / 380.00"),
    ]


def test_an_input_that_was_not_counted_is_a_dash(quick: Plan, answer: Answer) -> None:
    missing = of(quick.tasks, "fpn", "macs", narrow=False)[0]
    rows = table.macs_table(answers([task for task in quick.tasks if task is not missing], answer))
    found = dict(rows[rows["system"] == "fpn"].iloc[0])
    assert [column for column, text in found.items() if text == "-"] == [f"{missing.cell.backbone}, coco"]


def test_components_stand_at_every_input_where_they_sum_to_the_total(quick: Plan, answer: Answer) -> None:
    rows = table.components_table(answers(quick.tasks, answer))
    assert {(row["backbone"], row["input"], row["width"]) for _, row in rows.iterrows()} == {
        ("r50", "coco", "full"),
        ("swin_t", "coco", "full"),
        ("r50", "512x512", "full"),
        ("resnet_mini", "128x128", "narrow"),
    }, "under coco:firstN the encoder is the last image's"
    rows = rows[(rows["input"] == "coco") & (rows["backbone"] == "r50")]
    assert list(rows["system"]) == ALL
    assert list(rows["encoder GMACs"]) == [f"{100 * n + 10:.3f}" for n in range(1, LAST + 1)]
    assert list(rows["total GMACs"]) == [f"{100 * n + 90:.3f}" for n in range(1, LAST + 1)]
    assert list(rows["total GMACs, complete"]) == [f"{100 * n + 97:.3f}" for n in range(1, LAST + 1)]


def test_what_stands_behind_each_time(quick: Plan, answer: Answer) -> None:
    rows = table.timing_table(answers(quick.tasks, answer))
    assert len(rows) == 2 * len(TRAINED)
    assert set(rows["samples of each"]) == {"15"} and set(rows["processes"]) == {"1"}
    assert set(rows["between processes"]) == {"-"}, "one process says nothing of others"
    assert set(rows["p90, ms"]) == {"-"}, "15 samples have none"
    full = rows[(rows["system"] == "fpn") & (rows["width"] == "full")]
    assert list(full["p50, ms"]) == [f"{LAST}00.00"]


def test_a_ratio_is_taken_within_one_environment_alone(quick: Plan, suite: Suite, answer: Answer) -> None:
    (base,) = of(quick.tasks, "mask2former", "latency", narrow=False)
    elsewhere = {"environment": {"cpu": "Another CPU"}}
    records = [answer(task, **(elsewhere if task is base else {})) for task in quick.tasks]
    numbers = table.main_table(records, quick, suite.published)
    assert list(numbers["encoder ms / mask2former"].dropna()) == [1]
    assert list(numbers["encoder ms"].dropna()) == pytest.approx([100 * n for n in NUMBERS])


def test_two_records_for_one_place_are_refused(quick: Plan, suite: Suite, answer: Answer) -> None:
    task = next(task for task in quick.tasks if task.probe == "parameters")
    twin = replace(task, cell=replace(task.cell, size="640x640"))
    with pytest.raises(ValueError, match="two cells fill column 'encoder M parameters' of mask2former"):
        table.main_table([answer(task), answer(twin)], quick, suite.published)


def test_a_column_without_a_backbone_may_not_hold_two(quick: Plan, answer: Answer) -> None:
    tasks = [task for task in of(quick.tasks, "fpn", "macs", narrow=False) if task.cell.size == "coco"]
    column = Column("GMACs", "macs", "papers.total", size="coco")
    with pytest.raises(ValueError, match="two cells fill column 'GMACs' of fpn; give it a size, backbone or"):
        table.filling(column, answers(tasks, answer))
    found = table.filling(replace(column, backbone="swin_t"), answers(tasks, answer))
    assert {name: record.cell["backbone"] for name, (record,) in found.items()} == {"fpn": "swin_t"}


def test_what_the_papers_leave_out_has_a_column_per_operator(quick: Plan, answer: Answer) -> None:
    records = answers(quick.tasks, answer)
    for record in records:
        if record.probe == "macs" and record.cell["encoder"] == "fpn":
            record.detail["left_out"] = {"group_norm": 1e9}
    rows = table.left_out_table(records)
    assert set(rows["input"]) == {"coco", "512x512", "128x128"}
    full = rows[(rows["input"] == "coco") & (rows["backbone"] == "swin_t")].set_index("system")
    assert list(full.loc["mask2former", ["ms_deform_attn", "group_norm"]]) == ["7.000", "-"]
    assert list(full.loc["fpn", ["ms_deform_attn", "group_norm"]]) == ["-", "1.000"]

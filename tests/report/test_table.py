"""The table: every number from a record, and a dash where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
import pytest

from effbench.report import table
from effbench.study.record import Record
from effbench.study.suite import Plan, Suite, Task

Answer = Callable[..., Record]
SYSTEMS = ["mask2former", "proscale(p=(1,1,1))", "proscale(p=(3,3,3))", "fpn"]


def answers(tasks: Sequence[Task], answer: Answer) -> list[Record]:
    return [answer(task) for task in tasks]


def of(tasks: Sequence[Task], system: str, probe: str, narrow: bool) -> list[Task]:
    return [t for t in tasks if (t.cell.system, t.probe, bool(t.cell.width)) == (system, probe, narrow)]


@pytest.fixture
def numbers(quick: Plan, suite: Suite, answer: Answer) -> pd.DataFrame:
    return table.main_table(answers(quick.tasks, answer), quick, suite.published)


def test_one_row_per_system_in_the_suites_order(numbers: pd.DataFrame) -> None:
    assert list(numbers.index) == SYSTEMS


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("encoder GMACs", [100, 200, 300, 400]),
        ("total GMACs", [180, 280, 380, 480]),
        ("encoder M parameters", [1.25, 2.25, 3.25, 4.25]),
        ("encoder ms", [100, 200, 300, 400]),  # the median: the sample that lies far out does not move it
        ("narrow encoder GMACs", [0.1, 0.2, 0.3, 0.4]),
        ("narrow encoder ms", [10, 20, 30, 40]),
        ("PQ", [41, 42, 43, 44]),
        ("PQ things", [31, 32, 33, 34]),
        ("PQ stuff", [51, 52, 53, 54]),
    ],
)
def test_numbers_are_those_of_the_records(column: str, expected: list[float], numbers: pd.DataFrame) -> None:
    assert list(numbers[column]) == pytest.approx(expected)


def test_every_time_stands_beside_its_ratio_to_the_baseline(numbers: pd.DataFrame) -> None:
    columns = list(numbers.columns)
    for time in ("encoder ms", "narrow encoder ms"):
        ratio = columns[columns.index(time) + 1]
        assert "mask2former" in ratio
        assert list(numbers[ratio]) == pytest.approx([1, 2, 3, 4])


def test_printed_numbers_stand_beside_ours(numbers: pd.DataFrame, suite: Suite) -> None:
    columns = list(numbers.columns)
    for metric, ours in (("gmacs_encoder", "encoder GMACs"), ("gmacs_total", "total GMACs")):
        printed = columns[columns.index(ours) + 1]
        assert "printed" in printed
        said = {row.system: row.value for row in suite.published if row.metric == metric}
        assert numbers[printed].dropna().to_dict() == said
    assert math.isnan(numbers.loc["fpn", columns[columns.index("encoder GMACs") + 1]]), "no paper prints it"


def test_what_no_record_says_is_a_dash(quick: Plan, suite: Suite, answer: Answer) -> None:
    missing = of(quick.tasks, "fpn", "quality", narrow=True) + of(quick.tasks, "fpn", "latency", narrow=False)
    records = answers([task for task in quick.tasks if task not in missing], answer)
    text = table.formatted(table.main_table(records, quick, suite.published), quick.columns)
    assert text.loc["fpn", "PQ"] == text.loc["fpn", "encoder ms"] == "-"
    assert text.loc["fpn", "encoder ms / mask2former"] == "-"
    assert text.loc["fpn", "narrow encoder ms"] == "40.0"
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
    assert numbers.loc["fpn", "encoder ms"] == pytest.approx(400)


def test_without_any_record_there_are_rows_of_dashes(quick: Plan, suite: Suite) -> None:
    text = table.formatted(table.main_table([], quick, ()), quick.columns)
    assert list(text.index) == SYSTEMS
    assert set(text.to_numpy().ravel()) == {"-"}


def test_a_median_of_too_few_samples_is_not_shown(quick: Plan, suite: Suite, answer: Answer) -> None:
    (few,) = of(quick.tasks, "fpn", "latency", narrow=False)
    records = [answer(task, **({"samples": [0.4] * 10} if task is few else {})) for task in quick.tasks]
    text = table.formatted(table.main_table(records, quick, suite.published), quick.columns)
    assert text.loc["fpn", "encoder ms"] == "-"
    assert text.loc["mask2former", "encoder ms"] == "100"
    times = table.timing_table(records)
    assert list(times[(times["system"] == "fpn") & (times["samples"] == "10")]["p50, ms"]) == ["-"]


def test_smoke_shows_the_photos_numbers_and_says_smoke(smoke: Plan, suite: Suite, answer: Answer) -> None:
    numbers = table.main_table(answers(smoke.tasks, answer), smoke, suite.published)
    assert list(numbers.index) == SYSTEMS
    assert list(numbers["encoder GMACs"]) == pytest.approx([100, 200, 300, 400])
    assert list(numbers["encoder ms"]) == pytest.approx([100, 200, 300, 400])
    quality = [column for column in numbers.columns if "PQ" in column]
    assert quality and all("smoke" in column for column in quality)
    assert list(numbers[quality[0]]) == pytest.approx([41, 42, 43, 44])


def test_the_last_record_of_a_task_counts(quick: Plan, answer: Answer) -> None:
    first, second, *_ = quick.tasks
    old, new, other = answer(first, seconds=1.0), answer(first, seconds=2.0), answer(second)
    assert table.latest([old, other, new], quick.tasks) == [new, other], "in the order of the tasks"


def test_records_of_other_plans_do_not_count(quick: Plan, smoke: Plan, answer: Answer) -> None:
    assert table.latest(answers(smoke.tasks, answer), quick.tasks) == []


def test_printed_figures_are_compared_at_the_papers_input(quick: Plan, suite: Suite, answer: Answer) -> None:
    rows = table.printed_table(answers(quick.tasks, answer), suite.published)
    assert len(rows) == len(suite.published)
    row = rows[(rows["system"] == "mask2former") & (rows["part"] == "encoder")].iloc[0]
    assert (row["printed GFLOPs"], row["ours, GMACs"]) == ("135.00", "100.00")
    assert row["difference"] == "-25.93%"
    assert "Table 1" in row["source"]


def test_components_stand_at_every_input(quick: Plan, answer: Answer) -> None:
    rows = table.components_table(answers(quick.tasks, answer))
    assert set(rows["input"]) == {"coco", "coco:first30", "128x128"}
    assert set(rows["backbone"]) == {"r50", "resnet_mini"}
    rows = rows[rows["input"] == "coco"]
    assert list(rows["system"]) == SYSTEMS
    assert list(rows["encoder GMACs"]) == ["110.000", "210.000", "310.000", "410.000"]
    assert list(rows["total GMACs"]) == ["190.000", "290.000", "390.000", "490.000"]
    assert list(rows["total GMACs, complete"]) == ["197.000", "297.000", "397.000", "497.000"]


def test_what_stands_behind_each_time(quick: Plan, answer: Answer) -> None:
    rows = table.timing_table(answers(quick.tasks, answer))
    assert len(rows) == 2 * len(SYSTEMS)
    assert set(rows["samples"]) == {"15"}
    assert set(rows["warm-up runs"]) == {"2"}
    full = rows[(rows["system"] == "fpn") & (rows["width"] == "full")]
    assert list(full["p50, ms"]) == ["400.00"]


def test_quality_says_what_it_was_trained_with(quick: Plan, answer: Answer) -> None:
    rows = table.quality_table(answers(quick.tasks, answer))
    assert list(rows["system"]) == SYSTEMS
    assert list(rows["PQ things"]) == ["31.0", "32.0", "33.0", "34.0"]
    assert list(rows["SQ all"]) == ["81.0", "82.0", "83.0", "84.0"]
    assert set(rows["images"]) == {"2"}
    (steps,) = set(rows["steps"])
    assert int(steps) == next(t.cell.options["recipe"]["steps"] for t in quick.tasks if t.probe == "quality")


def test_a_ratio_is_taken_within_one_environment_alone(quick: Plan, suite: Suite, answer: Answer) -> None:
    (base,) = of(quick.tasks, "mask2former", "latency", narrow=False)
    elsewhere = {"environment": {"cpu": "Another CPU"}}
    records = [answer(task, **(elsewhere if task is base else {})) for task in quick.tasks]
    numbers = table.main_table(records, quick, suite.published)
    assert list(numbers["encoder ms / mask2former"].dropna()) == [1]
    assert list(numbers["encoder ms"]) == pytest.approx([100, 200, 300, 400])


def test_two_records_for_one_place_are_refused(quick: Plan, suite: Suite, answer: Answer) -> None:
    task = next(task for task in quick.tasks if task.probe == "parameters")
    twin = replace(task, cell=replace(task.cell, size="640x640"))
    with pytest.raises(ValueError, match="two records fill column 'encoder M parameters' of mask2former"):
        table.main_table([answer(task), answer(twin)], quick, suite.published)


def test_what_the_papers_leave_out_has_a_column_per_operator(quick: Plan, answer: Answer) -> None:
    rows = table.left_out_table(answers(quick.tasks, answer))
    full = rows[(rows["system"] == "mask2former") & (rows["input"] == "coco")]
    assert list(full["ms_deform_attn"]) == ["7.000"]

"""Numbers of several processes or seeds: put together, compared round by round, and shown with their spread."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from effbench.report import page, quality, table
from effbench.study.interleave import replica
from effbench.study.record import Record
from effbench.study.suite import Plan, Suite
from effbench.suites.systems import COUNTED, SYSTEMS

Answer = Callable[..., Record]
TRAINED = [system.label for system in SYSTEMS]
NUMBERS = [COUNTED.index(system) + 1 for system in SYSTEMS]
TIME = "encoder ms, float32"


@pytest.fixture
def records(full: Plan, answer: Answer) -> list[Record]:
    return [answer(task) for task in full.tasks]


@pytest.fixture
def numbers(records: list[Record], full: Plan, suite: Suite) -> pd.DataFrame:
    return table.main_table(records, full, suite.published).loc[TRAINED]


def test_a_time_is_the_median_of_the_processes(numbers: pd.DataFrame) -> None:
    """100, 110 and 120 ms of the first system, and so on."""
    assert list(numbers[TIME]) == pytest.approx([110 * n for n in NUMBERS])


def test_p90_is_of_the_samples_of_all_processes(numbers: pd.DataFrame) -> None:
    """63 of 66 samples lie at the medians, a third of them at the highest."""
    assert list(numbers[f"{TIME}, p90"]) == pytest.approx([120 * n for n in NUMBERS])


def test_a_ratio_is_taken_round_by_round(records: list[Record], full: Plan, suite: Suite) -> None:
    """One process of the baseline was slow, and that of every other system in the same round: no ratio moves."""
    slowed = [
        replace(r, samples=[7 * s for s in r.samples]) if r.probe == "latency" and r.cell["options"]["replica"] else r
        for r in records
    ]
    for found in (records, slowed):
        numbers = table.main_table(found, full, suite.published).loc[TRAINED]
        assert list(numbers[f"{TIME} / mask2former"]) == pytest.approx(NUMBERS)


def test_a_round_that_the_baseline_lacks_has_no_ratio(records: list[Record], full: Plan) -> None:
    column = next(column for column in full.columns if column.title == TIME)
    base = [r for r in records if r.probe == "latency" and r.cell["encoder"] == "mask2former"]
    lost = next(r for r in base if r.cell["options"]["replica"] == 1 and not r.cell["settings"])
    filled = table.filling(column, [r for r in records if r is not lost])
    assert {name: len(own) for name, own in table.ratios(column, filled, "mask2former").items()} == dict.fromkeys(
        TRAINED, 2
    )


def test_replicas_stand_in_their_order_whatever_that_of_their_records(records: list[Record], full: Plan) -> None:
    column = next(column for column in full.columns if column.title == "PQ")
    for place in table.filling(column, records[::-1]).values():
        assert [r.cell["options"]["recipe"]["seed"] for r in place] == [0, 1, 2]


def test_what_stands_behind_a_time_of_several_processes(records: list[Record]) -> None:
    rows = table.timing_table(records)
    assert list(rows["system"]) == TRAINED
    assert set(rows["processes"]) == {"3"} and set(rows["samples of each"]) == {"22"}
    assert set(rows["between processes"]) == {"9.1%"}, "standard deviation of 100, 110, 120 over 110"
    assert list(rows["p90, ms"]) == [f"{120 * n}.00" for n in NUMBERS]


def test_the_canary_that_moved_most_is_shown(records: list[Record]) -> None:
    moved = next(r for r in records if r.probe == "latency" and r.cell["encoder"] == "fpn")
    moved.detail["canary"]["moved"] = -0.3
    rows = table.timing_table(records).set_index("system")
    assert rows.loc["fpn", "canary moved"] == "-30%" and rows.loc["lite", "canary moved"] == "+4%"


def test_quality_is_the_mean_over_seeds(numbers: pd.DataFrame, records: list[Record]) -> None:
    assert list(numbers["PQ"]) == pytest.approx([40.5 + n for n in NUMBERS])
    sizes = quality.size_table(records)
    assert list(sizes["PQ small"]) == [f"{20.5 + n:.1f}" for n in NUMBERS]
    parts = quality.parts_table(records)
    assert list(parts["context: PQ"]) == [f"{25.5 + n:.1f}" for n in NUMBERS]


def test_the_span_of_several_seeds_is_theirs(records: list[Record]) -> None:
    place = [r for r in quality.scored(records) if r.cell["encoder"] == "fpn"]
    assert quality.pq_span(place) == (40 + NUMBERS[-1], 41 + NUMBERS[-1])
    assert quality.pq_span(place[:1]) == quality.pq_interval(place[0])


def test_differences_are_of_all_seeds_together_and_of_each(records: list[Record]) -> None:
    rows = quality.difference_table(records, "mask2former")
    assert list(rows["system"]) == TRAINED[1:]
    assert list(rows["PQ minus mask2former's"]) == [f"+{n - 1}.0" for n in NUMBERS[1:]]
    assert list(rows["of each seed"]) == [", ".join([f"+{n - 1}.0"] * 3) for n in NUMBERS[1:]]


def test_a_page_of_processes_and_seeds(
    records: list[Record], full: Plan, suite: Suite, answer: Answer, tmp_path: Path
) -> None:
    page.write(tmp_path, suite, full, records, "effbench run coco --profile full")
    text = (tmp_path / "README.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for title in ("Quality over seeds", "Where the time of a pass goes", "What bounds each part", "Ceilings", "Memory"):
        assert title in headings
    assert "Energy" not in headings
    (line,) = [line for line in text.splitlines() if line.endswith("skipped, no energy meter: none")]
    assert line.count(";") == len(TRAINED) - 1, "the same reason stands once"
    assert f"![Time saved against multiply-accumulates saved]({page.SAVINGS})" in text
    assert (tmp_path / page.SAVINGS).stat().st_size > 10_000


def test_the_fixture_tells_replicas_apart(full: Plan) -> None:
    assert {replica(task.cell) for task in full.tasks} == {(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)}

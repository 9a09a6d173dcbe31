"""The quality tables: every score, its interval, and the comparison with the baseline."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from effbench.report import quality
from effbench.study.record import Record
from effbench.study.suite import Plan
from effbench.suites.systems import COUNTED, SYSTEMS

Answer = Callable[..., Record]
TRAINED = [system.label for system in SYSTEMS]
NUMBERS = [COUNTED.index(system) + 1 for system in SYSTEMS]


@pytest.fixture
def records(quick: Plan, answer: Answer) -> list[Record]:
    return [answer(task) for task in quick.tasks]


@pytest.fixture
def scored(records: list[Record]) -> dict[str, Record]:
    """system -> its quality record, which a test may change."""
    return dict(zip(TRAINED, quality.scored(records), strict=True))


def test_only_records_that_hold_a_quality_are_taken(quick: Plan, answer: Answer, records: list[Record]) -> None:
    assert [record.probe for record in quality.scored(records)] == ["quality"] * len(SYSTEMS)
    failed = [answer(task, status="failed", reason="why", samples=[], detail={}) for task in quick.tasks]
    assert quality.scored(failed) == []
    for table in (quality.quality_table, quality.size_table, quality.parts_table):
        assert table(failed).empty
    assert quality.difference_table(failed, "mask2former").empty


def test_the_interval_is_over_the_images(scored: dict[str, Record]) -> None:
    """Two images, 8 points better and worse than 41: a quarter of the draws has the one alone, a quarter the other."""
    assert quality.pq_interval(scored["mask2former"]) == pytest.approx((33, 49))


def test_quality_stands_with_how_it_came_about(records: list[Record], scored: dict[str, Record]) -> None:
    scored["fpn"].detail["ap"]["ap"] = None
    rows = quality.quality_table(records)
    assert list(rows["system"]) == TRAINED
    assert set(rows["backbone"]) == {"resnet_mini"} and set(rows["width"]) == {"narrow"}
    for column, offset in (("PQ all", 40), ("PQ things", 30), ("PQ stuff", 50), ("mIoU_p", 60)):
        assert list(rows[column]) == [f"{offset + n}.0" for n in NUMBERS], column
    assert list(rows["AP_p"]) == [f"{20 + n}.0" for n in NUMBERS[:-1]] + ["-"]
    assert set(rows["SQ all"]) == {"80.0"} and set(rows["RQ stuff"]) == {"60.0"}
    assert rows["95% interval of PQ over images"][0] == "33.0 to 49.0"
    assert set(rows["images"]) == {"2"} and set(rows["seconds"]) == {"61"} and set(rows["seed"]) == {"0"}
    assert set(rows["steps"]) == {str(scored["fpn"].detail["recipe"]["steps"])}


@pytest.mark.parametrize("name", ["miou", "ap"])
def test_a_score_that_a_record_does_not_have_is_a_dash(
    name: str, records: list[Record], scored: dict[str, Record]
) -> None:
    del scored["lite"].detail[name]
    rows = quality.quality_table(records).set_index("system")
    column = {"miou": "mIoU_p", "ap": "AP_p"}[name]
    assert rows.loc["lite", column] == "-" != rows.loc["fpn", column]


def test_sizes_that_no_image_has_are_dashes(records: list[Record]) -> None:
    rows = quality.size_table(records)
    assert list(rows["system"]) == TRAINED
    assert list(rows["PQ small"]) == [f"{20 + n}.0" for n in NUMBERS]
    assert list(rows["PQ medium"]) == [f"{37 + n}.0" for n in NUMBERS]
    assert set(rows["RQ small"]) == {"30.0"} and set(rows["RQ medium"]) == {"60.0"}
    assert set(rows["PQ large"]) == set(rows["RQ large"]) == {"-"}


def test_harder_parts_are_scored_over_what_they_are_about(quick: Plan, records: list[Record]) -> None:
    rows = quality.parts_table(records)
    assert list(rows["system"]) == TRAINED
    parts: dict[str, Any] = next(task.cell.options["parts"] for task in quick.tasks if task.probe == "quality")
    first, *harder = parts
    assert not any(column.startswith(first) for column in rows.columns), "that is the score itself"
    for less, part in enumerate(harder):
        assert list(rows[f"{part}: PQ"]) == [f"{25 + n - less}.0" for n in NUMBERS]
        assert set(rows[f"{part}: RQ"]) == {"70.0"}


def test_photos_have_no_harder_parts(smoke: Plan, answer: Answer) -> None:
    records = [answer(task) for task in smoke.tasks]
    assert quality.parts_table(records).empty
    assert list(quality.quality_table(records)["system"]) == TRAINED


# --- against the baseline --------------------------------------------------------------------------------------------


def test_differences_are_paired(records: list[Record]) -> None:
    """Every image is as much better as the whole, so that no draw of the images changes the difference."""
    rows = quality.difference_table(records, "mask2former")
    assert list(rows["system"]) == TRAINED[1:], "the baseline differs from itself by nothing"
    more = [n - 1 for n in NUMBERS[1:]]
    assert list(rows["PQ minus mask2former's"]) == [f"+{n}.0" for n in more]
    assert list(rows["95% interval over images"]) == [f"+{n}.0 to +{n}.0" for n in more]
    assert set(rows["excludes 0"]) == {"yes"}


def test_a_difference_that_the_images_explain_is_said_to_be_none(
    records: list[Record], scored: dict[str, Record]
) -> None:
    """The baseline's scores with the two images swapped, and one that is worse on both."""
    base = scored["mask2former"].detail["per_image"]
    scored["lite"].detail["per_image"] = {"1": base["2"], "2": base["1"]}
    worse = copy.deepcopy(base)
    for image in worse.values():
        image["0"][0] -= 0.04
    scored["fpn"].detail["per_image"] = worse
    pq = scored["mask2former"].detail["all"]["pq"]
    scored["lite"].detail["all"]["pq"], scored["fpn"].detail["all"]["pq"] = pq, pq - 2
    rows = quality.difference_table(records, "mask2former").set_index("system")
    assert rows.loc["lite"].tolist()[-3:-1] == ["-16.0 to +16.0", "no"]
    assert rows.loc["fpn"].tolist()[-4:-1] == ["-2.0", "-2.0 to -2.0", "yes"]


def test_only_what_was_scored_on_the_same_images_is_compared(records: list[Record], scored: dict[str, Record]) -> None:
    del scored["fpn"].detail["per_image"]["2"]
    *compared, fpn = quality.difference_table(records, "mask2former").to_dict("records")
    assert [row["system"] for row in compared] == TRAINED[1:-1]
    assert "-" not in {value for row in compared for value in row.values()}
    assert list(fpn.values())[-4:] == ["-", "-", "scored on other images", "-"]


def test_without_a_baseline_there_are_no_differences(records: list[Record]) -> None:
    rest = [record for record in records if record.cell["encoder"] != "mask2former"]
    assert quality.difference_table(rest, "mask2former").empty

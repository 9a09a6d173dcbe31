"""Numbers of several processes or seeds: put together, compared round by round, and shown with their spread."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from effbench.report import page, quality, table
from effbench.study.interleave import replica
from effbench.study.record import Record
from effbench.study.suite import Options, Plan, Suite
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
    """The machine was slower in the later rounds, alike for all; the systems besides by 0, 2 and -4% each."""
    shared, own = (1.0, 7.0, 5.0), (1.0, 1.02, 0.96)
    for record in records:
        if record.probe == "latency":
            r = record.cell["options"]["replica"]
            factor = shared[r] * (own[r] if record.cell["encoder"] != "mask2former" or record.cell["settings"] else 1)
            record.samples[:] = [factor / (1 + 0.1 * r) * sample for sample in record.samples]  # type: ignore[index]
    numbers = table.main_table(records, full, suite.published).loc[TRAINED]
    assert list(numbers[f"{TIME} / mask2former"]) == pytest.approx(NUMBERS), "the round without a change is the median"
    assert list(numbers[TIME])[1:] == pytest.approx([100 * 5 * 0.96 * n for n in NUMBERS[1:]]), "the median of times"


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
    assert set(rows["processes"]) == {"3"} and set(rows["warm-up flat"]) == {"3 of 3"}
    assert set(rows["samples of each"]) == {"22"}
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


def test_a_number_waits_for_all_of_its_processes_and_seeds(records: list[Record], full: Plan, suite: Suite) -> None:
    fpn = [r for r in records if r.cell["encoder"] == "fpn" and r.probe in ("latency", "quality")]
    lost = [next(r for r in fpn if r.probe == probe) for probe in ("latency", "quality")]
    failed = [replace(r, status="failed", reason="why") if r in lost else r for r in records]
    for found in (failed, [r for r in records if r not in lost]):
        kept = table.complete(found, full.tasks)
        assert not [r for r in kept if r in fpn]
        numbers = table.main_table(kept, full, suite.published)
        assert numbers.loc["fpn", [TIME, "PQ"]].isna().all() and numbers.loc["lite", [TIME, "PQ"]].notna().all()


def test_processes_of_other_sources_or_machines_are_not_put_together(records: list[Record], full: Plan) -> None:
    first = next(r for r in records if r.probe == "latency" and r.cell["encoder"] == "fpn")
    for change in ({"source": "1" * 16}, {"host": "b" * 12}, {"environment": {"cpu": "Another CPU"}}):
        changed = [replace(r, **change) if r is first else r for r in records]
        kept = table.complete(changed, full.tasks)
        assert not [r for r in kept if r.probe == "latency" and r.cell["encoder"] == "fpn"]
        assert [r for r in kept if r.probe == "latency" and r.cell["encoder"] == "lite"]


def test_the_fixture_tells_replicas_apart(full: Plan) -> None:
    assert {replica(task.cell) for task in full.tasks} == {(0, 0), (1, 0), (2, 0), (0, 1), (0, 2)}


# --- a device with a clock of its own, and several conditions --------------------------------------------------------


@pytest.fixture
def on_cuda(suite: Suite, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, list[Record]]:
    """The plan for a GPU, and records of one whose clock says half of what the host's does."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    plan = suite.plan(Options(profile="full", device="cuda"))
    records = [answer(replace(task, skip="no meter") if task.probe == "energy" else task) for task in plan.tasks]
    for record in records:
        if record.probe == "latency":
            twice = [2 * sample for sample in record.samples]
            record.detail.update(clock="device", host=twice, device=record.samples, launch_bound=True, throttled=[3])
            record.detail["graph"] = {"device": [0.04] * 22}
    return plan, records


def test_every_condition_has_its_columns_and_a_panel(
    on_cuda: tuple[Plan, list[Record]], suite: Suite, tmp_path: Path
) -> None:
    plan, records = on_cuda
    page.write(tmp_path, suite, plan, records, "effbench run coco --profile full")
    text = (tmp_path / "README.md").read_text()
    assert [f"### {name}" in text for name in ("float32", "tf32", "bfloat16", "bfloat16, batch 8")] == [True] * 4
    with Image.open(tmp_path / page.SAVINGS) as image:
        assert image.height > image.width / 2, "two rows of two panels"
    rows = table.timing_table(records)
    assert set(rows["host / device"]) == {"2.00, launch-bound"} and set(rows["as a CUDA graph, ms"]) == {"40.00"}
    assert set(rows["throttled samples"]) == {"3"}


def test_a_condition_without_numbers_takes_no_other_panel_away(
    on_cuda: tuple[Plan, list[Record]], suite: Suite, tmp_path: Path
) -> None:
    plan, records = on_cuda
    big = [replace(r, status="out_of_memory", reason="why") if r.cell["batch"] == 8 else r for r in records]
    page.write(tmp_path, suite, plan, big, "effbench run coco --profile full")
    three = (tmp_path / page.SAVINGS).read_bytes()
    page.write(tmp_path, suite, plan, records, "effbench run coco --profile full")
    assert (tmp_path / page.SAVINGS).read_bytes() != three


def test_a_figure_that_cannot_be_drawn_anew_is_gone(
    records: list[Record], full: Plan, suite: Suite, tmp_path: Path
) -> None:
    page.write(tmp_path, suite, full, records, "effbench run coco --profile full")
    page.write(tmp_path, suite, full, [r for r in records if r.probe != "latency"], "effbench run coco --profile full")
    assert not (tmp_path / page.SAVINGS).exists()
    assert page.SAVINGS not in (tmp_path / "README.md").read_text()

"""The report: README.md and its figure, from records alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effbench.report import page
from effbench.study.record import Record
from effbench.study.suite import Plan, Suite

Answer = Callable[..., Record]
COMMAND = "effbench run coco"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some-machine" / "coco" / "quick"


@pytest.fixture
def write(folder: Path, suite: Suite) -> Callable[..., str]:
    """Writes the page of a plan and returns its text."""

    def write(plan: Plan, records: list[Record]) -> str:
        page.write(folder, suite, plan, records, COMMAND)
        return (folder / "README.md").read_text()

    return write


@pytest.fixture
def complete(write: Callable[..., str], quick: Plan, answer: Answer) -> str:
    """The page of a plan whose tasks have all been measured."""
    return write(quick, [answer(task) for task in quick.tasks])


def tables(text: str) -> list[list[list[str]]]:
    """The page's markdown tables as rows of cells."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in block.splitlines()] for block in blocks]


def test_the_page_says_what_was_asked_and_what_the_numbers_are_good_for(
    complete: str, suite: Suite, quick: Plan
) -> None:
    assert complete.startswith("# coco, profile quick")
    assert suite.question in complete
    assert all(note in complete for note in quick.notes)


def test_the_first_table_has_every_system_with_its_numbers(complete: str) -> None:
    head, _, *rows = tables(complete)[0]
    assert [row[0] for row in rows] == ["mask2former", "proscale(p=(1,1,1))", "proscale(p=(3,3,3))", "fpn"]
    last = dict(zip(head, rows[-1], strict=True))
    assert (last["encoder GMACs"], last["encoder ms"], last["PQ"]) == ("400.00", "400", "44.0")
    assert "-" in last.values(), "no paper prints the FPN"


def test_every_table_is_a_table(complete: str) -> None:
    found = tables(complete)
    assert len(found) >= 4
    for rows in found:
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 2
        assert not any(cell in ("nan", "None") for row in rows for cell in row)


def test_printed_gflops_stand_beside_ours(complete: str, suite: Suite) -> None:
    section = complete.split("## Printed GFLOPs")[1].split("\n## ")[0]
    for row in suite.published:
        assert f"{row.value:.2f}" in section
        assert row.source in section
    assert "coco:first30" in section


def test_where_the_numbers_come_from(complete: str, quick: Plan) -> None:
    section = complete.split("## How this was made")[1]
    assert f"`{COMMAND}`" in section
    assert "c0ffee with local changes" in section
    assert "cpu Some CPU" in section
    assert f"{len(quick.tasks)} records" in section
    assert "123 s of training" in section, "the warm start is part of the time"
    assert "must not be compared" not in section


def test_records_of_two_environments_must_not_be_compared(
    write: Callable[..., str], quick: Plan, answer: Answer
) -> None:
    first, *rest = quick.tasks
    records = [answer(first, environment={"cpu": "Another CPU"}), *map(answer, rest)]
    assert "must not be compared" in write(quick, records)


def test_a_complete_page_has_nothing_that_was_not_measured(complete: str) -> None:
    assert "## Not measured" not in complete


def test_what_failed_or_is_missing_is_said(write: Callable[..., str], quick: Plan, answer: Answer) -> None:
    failed, missing = [task for task in quick.tasks if task.probe == "quality"][:2]
    records = [answer(task) for task in quick.tasks if task not in (failed, missing)]
    records.append(answer(failed, status="out_of_memory", reason="MemoryError: too large", samples=[], detail={}))
    text = write(quick, records).split("## Not measured")[1]
    assert f"- {failed.title}: out_of_memory, MemoryError: too large" in text
    assert f"- {missing.title}: not measured yet" in text


def test_a_page_of_nothing_can_be_written(write: Callable[..., str], quick: Plan) -> None:
    text = write(quick, [])
    assert text.count("not measured yet") == len(quick.tasks)


def test_smoke_is_labelled_and_checks_the_reader(write: Callable[..., str], smoke: Plan, answer: Answer) -> None:
    text = write(smoke, [answer(task) for task in smoke.tasks])
    assert text.startswith("# coco, profile smoke")
    assert all(note in text for note in smoke.notes)
    section = text.split("## Reader and metric")[1].split("\n## ")[0]
    assert "100.00" in section
    assert "no folder panoptic_sample beside the data root" in text


def test_the_same_records_give_the_same_page(
    complete: str, write: Callable[..., str], quick: Plan, answer: Answer
) -> None:
    assert write(quick, [answer(task) for task in quick.tasks]) == complete


def test_the_figure_is_a_picture_of_sane_size(complete: str, folder: Path) -> None:
    name = re.findall(r"!\[[^]]+\]\(([^)]+)\)", complete)
    assert name == [page.FIGURE]
    path = folder / page.FIGURE
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 800 <= image.width <= 4000 and 300 <= image.height <= 3000
        pixels = np.asarray(image.convert("RGB"))
    assert path.stat().st_size < 1_000_000
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)[::7].tolist()}
    coloured = [c for c in colours if max(c) - min(c) > 60]
    assert len(coloured) >= 4, "a mark of its own colour per system"


def test_a_figure_without_quality_is_not_drawn(
    write: Callable[..., str], quick: Plan, answer: Answer, folder: Path
) -> None:
    text = write(quick, [answer(task) for task in quick.tasks if task.probe != "quality"])
    assert page.FIGURE not in text
    assert not (folder / page.FIGURE).exists()


def test_records_that_are_not_todays_are_counted(write: Callable[..., str], quick: Plan, answer: Answer) -> None:
    text = write(quick, [answer(task) for task in quick.tasks])
    assert f"{len(quick.tasks)} records are of other sources" in text


def test_an_interval_may_lie_beside_its_estimate(
    write: Callable[..., str], quick: Plan, answer: Answer, folder: Path
) -> None:
    """As it does by rounding where all images score the same; a bootstrap interval need not hold the estimate."""
    records = [answer(task) for task in quick.tasks]
    for record in records:
        if record.probe == "quality":
            one = {"0": [0.5, 1, 0, 0]}
            record.detail["per_image"] = {"1": one, "2": one}
            record.detail["all"]["pq"] = 50.0 + 1e-9 * (-1) ** len(record.cell["encoder"])
    assert page.FIGURE in write(quick, records)
    assert (folder / page.FIGURE).exists()


def test_the_table_that_is_returned_is_the_one_on_the_page(
    folder: Path, suite: Suite, quick: Plan, answer: Answer
) -> None:
    shown = page.write(folder, suite, quick, [answer(task) for task in quick.tasks], COMMAND)
    head, _, *rows = tables((folder / "README.md").read_text())[0]
    assert head[1:] == list(shown.columns)
    assert [row[1:] for row in rows] == shown.to_numpy().tolist()

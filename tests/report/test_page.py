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
from effbench.suites.systems import COUNTED, SYSTEMS

Answer = Callable[..., Record]
COMMAND = "effbench run coco"
LAST = len(COUNTED)
COUNTS = (
    "Multiply-accumulates of all systems",
    "Multiply-accumulates by component",
    "What the papers' convention leaves out",
)
SECTIONS = (
    "Printed GFLOPs",
    "Quality",
    "Difference to the baseline",
    "Quality by size",
    "Harder parts, each scored apart",
    *COUNTS,
    "Times",
)
"""Of a complete page, with a table each."""


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


@pytest.fixture(scope="module")
def complete_folder(suite: Suite, quick: Plan, answer: Answer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page and the figure of a plan whose tasks have all been measured."""
    folder = tmp_path_factory.mktemp("complete")
    page.write(folder, suite, quick, [answer(task) for task in quick.tasks], COMMAND)
    return folder


@pytest.fixture
def complete(complete_folder: Path) -> str:
    return (complete_folder / "README.md").read_text()


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
    assert [row[0] for row in rows] == [system.label for system in COUNTED]
    last = dict(zip(head, rows[-1], strict=True))
    assert (last["encoder GMACs"], last["encoder ms"], last["PQ"]) == (f"{LAST}00.00", f"{LAST}00", f"{40 + LAST}.0")
    assert "-" in last.values(), "no paper prints the FPN"


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_section_is_there_once_and_in_order(complete: str) -> None:
    headings = re.findall(r"^## (.*)$", complete, re.MULTILINE)
    assert headings == ["Systems", *SECTIONS, "How this was made"]


@pytest.mark.parametrize(
    ("title", "rows"),
    [
        ("Quality", len(SYSTEMS)),
        ("Difference to the baseline", len(SYSTEMS) - 1),
        ("Quality by size", len(SYSTEMS)),
        ("Harder parts, each scored apart", len(SYSTEMS)),
        ("Multiply-accumulates of all systems", len(COUNTED)),
        ("Times", 2 * len(SYSTEMS)),
    ],
)
def test_every_system_has_its_row(title: str, rows: int, complete: str) -> None:
    (found,) = tables(section(complete, title))
    assert len(found) == rows + 2, "a head and a rule above them"


def test_every_table_is_a_table(complete: str) -> None:
    found = tables(complete)
    assert len(found) == len(SECTIONS) + 1, "the main one, and one in each section"
    for rows in found:
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 2
        assert not any(cell in ("nan", "None") for row in rows for cell in row)


def test_printed_gflops_stand_beside_ours(complete: str, suite: Suite) -> None:
    printed = section(complete, "Printed GFLOPs")
    for row in suite.published:
        assert f"{row.value:.2f}" in printed
        assert row.source in printed
        assert row.size in printed


def test_where_the_numbers_come_from(complete: str, quick: Plan) -> None:
    made = section(complete, "How this was made")
    assert f"`{COMMAND}`" in made
    assert "c0ffee with local changes" in made
    assert "cpu Some CPU" in made
    assert f"{len(quick.tasks)} records" in made
    assert "123 s of training" in made, "the warm start is part of the time"
    assert "must not be compared" not in made


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
    (line,) = [line for line in text.splitlines() if line.endswith("not measured yet")]
    assert line.removeprefix("- ").split(": ")[0].split("; ") == [task.title for task in quick.tasks]


def test_smoke_is_labelled_and_checks_the_reader(write: Callable[..., str], smoke: Plan, answer: Answer) -> None:
    text = write(smoke, [answer(task) for task in smoke.tasks])
    assert text.startswith("# coco, profile smoke")
    assert all(note in text for note in smoke.notes)
    assert "100.00" in section(text, "Reader and metric")
    assert "no folder panoptic_sample beside the data root" in text
    assert "Harder parts" not in text, "photos have none"


def test_a_page_of_costs_alone_says_nothing_of_quality_or_times(
    folder: Path, cityscapes: Suite, costs: Plan, answer: Answer
) -> None:
    page.write(folder, cityscapes, costs, [answer(task) for task in costs.tasks], COMMAND)
    text = (folder / "README.md").read_text()
    assert text.startswith("# cityscapes, profile costs")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Systems", "Printed GFLOPs", *COUNTS, "How this was made"]
    assert page.FIGURE not in text


def test_the_same_records_give_the_same_page(
    complete: str, write: Callable[..., str], quick: Plan, answer: Answer
) -> None:
    assert write(quick, [answer(task) for task in quick.tasks]) == complete


def test_the_page_shows_its_figures(complete: str) -> None:
    assert re.findall(r"!\[[^]]+\]\(([^)]+)\)", complete) == [page.FIGURE, page.SAVINGS]


@pytest.mark.parametrize("name", [page.FIGURE, page.SAVINGS])
def test_a_figure_is_a_picture_of_sane_size(name: str, complete_folder: Path) -> None:
    path = complete_folder / name
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 800 <= image.width <= 4000 and 300 <= image.height <= 3000
        pixels = np.asarray(image.convert("RGB"))
    assert path.stat().st_size < 1_000_000
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)[::7].tolist()}
    coloured = [c for c in colours if max(c) - min(c) > 60]
    drawn = len(SYSTEMS) - (name == page.SAVINGS)
    assert len(coloured) >= drawn, "a mark of its own colour per system; the baseline saves nothing against itself"


def test_savings_without_the_baselines_time_are_not_drawn(
    write: Callable[..., str], quick: Plan, answer: Answer, folder: Path
) -> None:
    tasks = [t for t in quick.tasks if not (t.probe == "latency" and t.cell.system == "mask2former")]
    assert page.SAVINGS not in write(quick, [answer(task) for task in tasks])
    assert not (folder / page.SAVINGS).exists()


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

"""The report of early exit as a whole: its page and figures, from made-up records."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from effbench.report import early_exit_images, early_exit_sections, page
from effbench.study.record import Record
from effbench.study.suite import Plan
from effbench.suites import eco as suite

Answer = Callable[..., Record]
Detail = Callable[..., dict[str, Any]]


def test_the_page_and_its_figure_can_be_made(
    eco: Plan, exit_answer: Answer, gate_detail: Detail, tmp_path: Path
) -> None:
    records = []
    for task in eco.tasks:
        options = task.cell.options
        exits = suite.EXITS.get(next((s for s in suite.SYSTEMS if s.label == task.cell.system), suite.M2F))
        if task.probe == "macs":
            parts = {
                "backbone": 1e9,
                "encoder": 1e9 * options["exit"],
                "decoder": 1e9,
                "post_processing": 0,
                "other": 0,
            }
            parts["total"] = sum(parts.values())
            records.append(exit_answer(task, {"papers": parts, "complete": parts, "left_out": {}}))
        elif task.probe == "exits":
            found = {str(k): {"all": {"pq": 50.0 + k}} for k in exits}
            images = {"1": [{"1": [0.8, 1, 0, 0]}] * len(exits)}
            detail = {"exits": found, "recipe": options["recipe"], "per_image": images, "seconds": {"training": 9.0}}
            records.append(exit_answer(task, detail))
        elif task.probe == "derivation":
            counts, mean = {str(k): 10 for k in exits}, {str(k): 50.0 + k for k in exits}
            records.append(
                exit_answer(
                    task, {"best_exits": {"train": counts}, "mean_pq": {"train": mean}, "images": {"train": 50}}
                )
            )
        elif task.probe == "gate":
            records.append(exit_answer(task, gate_detail(dict(options["gate"]), exits=exits)))
    page.write(tmp_path, suite.SUITE, eco, records, "effbench run eco")
    text = (tmp_path / "README.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for title in ("Quality at every exit", "Gates", "What the gate is worth", "What printed costs imply"):
        assert title in headings
    assert "Systems" not in headings and "Multiply-accumulates by component" not in headings
    for system in suite.SYSTEMS:
        name = f"{early_exit_sections.EXITS}-{system.settings['base']}.png"
        assert f"]({name})" in text
        with Image.open(tmp_path / name) as image:
            assert image.width > 2 * image.height


def test_images_stand_in_columns_with_the_exit_that_each_took(eco: Plan, exit_answer: Answer, tmp_path: Path) -> None:
    task = next(task for task in eco.tasks if task.probe == "exit_examples")
    file = io.BytesIO()
    Image.new("RGB", (32, 24), (200, 30, 30)).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    example = {"gated": {"exit": 2, "pq": 50.0}, "deepest": {"exit": 6, "pq": 51.0}}
    example["pictures"] = dict.fromkeys(("image", "truth", "gated", "deepest"), picture)
    path = tmp_path / "images.png"
    sizes = []
    for count in (1, 3):
        record = exit_answer(task, {"examples": [example] * count, "gate": {"beta": 0.001}})
        assert early_exit_images.draw([record], task.cell.system, path)
        with Image.open(path) as image:
            sizes.append(image.size)
            colours = image.convert("RGB").getcolors(maxcolors=1 << 20)
        assert colours is not None and (200, 30, 30) in {colour for _, colour in colours}
    assert sizes[1][0] > 2 * sizes[0][0] and sizes[1][1] == sizes[0][1]
    assert not early_exit_images.draw([], task.cell.system, path) and not path.exists()

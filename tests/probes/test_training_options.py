"""What training probes read from a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.data.embedded import DEFAULT_COUNTS
from effbench.data.roots import open_split
from effbench.errors import InputError
from effbench.probes import training_options
from effbench.probes.base import Context
from effbench.probes.training_options import data_root, is_embedded, parse_recipe, parse_warm_start, show_training
from effbench.study.cell import Cell
from effbench.training.trainer import StepReport
from effbench.training.warm_start import WarmStart

MakeCell = Callable[..., Cell]


def test_an_embedded_part_needs_no_data_root(
    tiny_cell: MakeCell, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def generate(
        part: str, size: int, counts: Mapping[str, int], progress: Callable[[int, int], None], workers: int
    ) -> Path:
        asked.append((part, size, counts, workers))
        progress(1, 6)
        return tiny_root

    monkeypatch.setattr(training_options, "embedded_root", generate)  # the whole set takes half a minute
    events: list[dict[str, Any]] = []
    context = Context("unused", report=lambda **event: events.append(event), cores=3)
    cell = tiny_cell(dataset="embedded/base", size="96x96")
    assert is_embedded(cell)
    assert data_root(cell, context) == tiny_root
    assert asked == [("base", 96, DEFAULT_COUNTS, 3)], "images of the cell's size, as many as anybody's"
    assert events == [{"done": 1, "total": 6, "phase": "generating images"}]


def test_a_cell_says_how_many_images_it_trains_on(tiny_cell: MakeCell) -> None:
    cell = tiny_cell(dataset="embedded/base", options={"train_images": 2})
    root = data_root(cell, Context("unused"))
    assert len(open_split(root, "train")) == 2
    assert len(open_split(root, "val")) == DEFAULT_COUNTS["val2017"], "and on no fewer it is scored"


def test_a_number_of_images_that_no_set_has_is_refused(tiny_cell: MakeCell) -> None:
    with pytest.raises(InputError, match=r"'train2017': 0.*expected at least 1 image"):
        data_root(tiny_cell(dataset="embedded/base", options={"train_images": 0}), Context("unused"))


def test_any_other_set_is_found_where_the_context_says(tiny_cell: MakeCell) -> None:
    cell = tiny_cell(dataset="data-root 0123456789ab", size="data")
    assert not is_embedded(cell)
    assert data_root(cell, Context("unused", {"data_root": "/somewhere"})) == Path("/somewhere")


def test_an_embedded_set_of_no_size_is_refused(tiny_cell: MakeCell) -> None:
    with pytest.raises(InputError, match="expected HxW"):
        data_root(tiny_cell(dataset="embedded/base", size="data"), Context("unused"))


def test_a_recipe_comes_from_plain_json() -> None:
    recipe = parse_recipe({"steps": 3, "criterion": {"sampling": "dense", "points": 10}})
    assert (recipe.steps, recipe.criterion.sampling, recipe.criterion.points) == (3, "dense", 10)
    assert parse_recipe({"steps": 3}).criterion.sampling == "points", "the papers' by default"


def test_a_warm_start_is_what_the_cell_holds_fixed(tiny_cell: MakeCell) -> None:
    assert parse_warm_start(tiny_cell()) is None
    assert parse_warm_start(tiny_cell(options={"warm_start": None})) is None
    cell = tiny_cell(
        dataset="embedded/base",
        size="96x96",
        backbone_settings={"layers": (2, 1, 1, 1)},
        device="cuda",
        options={"warm_start": {"steps": 3}, "recipe": {"steps": 5}},
    )
    assert parse_warm_start(cell) == WarmStart(
        dataset="embedded/base 96x96",
        backbone="resnet_mini",
        backbone_settings={"layers": (2, 1, 1, 1)},
        dim=32,
        queries=6,
        decoder_settings=cell.decoder_settings,
        recipe=parse_recipe({"steps": 3}),
        device="cuda",
    )
    more = parse_warm_start(replace(cell, options={**cell.options, "train_images": 30_000}))
    assert more is not None and more.dataset == "embedded/base 96x96, 30000 images"


def test_steps_and_losses_are_shown() -> None:
    events: list[dict[str, Any]] = []
    show = show_training(Context("unused", report=lambda **event: events.append(event)), "warm start")
    show(StepReport(3, 10, {"class": 1.23456, "mask": 0.5}))
    assert events == [{"done": 3, "total": 10, "phase": "warm start", "class": 1.23, "mask": 0.5}]

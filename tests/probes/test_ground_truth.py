"""Ground truth against itself: PQ is 100, crowds and void included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effbench.probes import ground_truth
from effbench.probes.base import Context
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]


def test_the_embedded_set_scores_100(tiny_cell: MakeCell, context: Context) -> None:
    done: list[tuple[int, int]] = []
    context = replace(context, report=lambda **event: done.append((event["done"], event["total"])))
    measured = ground_truth.measure(tiny_cell(), context)
    assert measured.unit == "%"
    assert measured.samples == [pytest.approx(100)]
    for group in ("all", "things", "stuff"):
        assert measured.detail[group]["pq"] == pytest.approx(100)
    for size in measured.detail["by_size"].values():
        assert size["pq"] == pytest.approx(100 if size["categories"] else 0)
    assert len(measured.detail["per_image"]) == 3
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_a_crowd_is_neither_found_nor_missed(tiny_cell: MakeCell, crowded_root: Path) -> None:
    measured = ground_truth.measure(tiny_cell(), Context("unused", {"data_root": str(crowded_root)}))
    assert measured.samples == [pytest.approx(100)]
    assert measured.detail["all"]["categories"] == 2
    (image,) = measured.detail["per_image"].values()
    found, wrong, missed = (sum(row[i] for row in image.values()) for i in (1, 2, 3))
    assert (found, wrong, missed) == (2, 0, 0), "one cat and the sky; the crowd of cats counts as nothing"


def test_folders_of_panopticapis_sample_are_read(
    tiny_cell: MakeCell, crowded_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = tmp_path_factory.mktemp("panoptic_sample")
    (crowded_root / "val2017").rename(sample / "input_images")
    (crowded_root / "panoptic_val2017").rename(sample / "panoptic_examples")
    (crowded_root / "annotations/panoptic_val2017.json").rename(sample / "panoptic_examples.json")
    measured = ground_truth.measure(tiny_cell(), Context("unused", {"panoptic_sample": str(sample)}))
    assert measured.samples == [pytest.approx(100)]


def test_a_png_that_disagrees_with_its_annotation_is_no_silent_99(tiny_cell: MakeCell, crowded_root: Path) -> None:
    path = crowded_root / "panoptic_val2017/1.png"
    ids = np.array(Image.open(path))
    ids[39, 0] = (77, 0, 0)
    Image.fromarray(ids).save(path)
    with pytest.raises(ValueError, match="PNG and JSON disagree"):
        ground_truth.measure(tiny_cell(), Context("unused", {"data_root": str(crowded_root)}))

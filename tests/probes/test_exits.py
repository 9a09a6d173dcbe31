"""The probes of early exit on a tiny model: exits are scored, a gate is trained, and the ledger counts what ran."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.probes import derivation, exits, gate, ledger
from effbench.probes.base import Context, segmenter
from effbench.probes.exit_models import derived, trained
from effbench.probes.mac_count import count_part
from effbench.quality import ImageStats, accumulate, image_pq, summarise
from effbench.study.cell import Cell

MakeCell = Callable[..., Cell]
LAYERS = (1, 2, 3)
OPTIONS: dict[str, Any] = {
    "recipe": {"steps": 2, "batch_size": 2, "crop": 64, "criterion": {"sampling": "dense"}, "exit_loss": "weighted"},
    "inference": {"object_threshold": 0.0, "overlap_threshold": 0.0},
    "images": 3,
}


@pytest.fixture
def cell(tiny_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """An early-exit model of three layers; what it makes goes into a cache of the test's own."""
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    return tiny_cell(
        encoder="early_exit",
        settings={"base": "mask2former", "exits": LAYERS, "layers": 3},
        width={"dim": 32, "mask_dim": 32, "heads": 4, "ffn_dim": 64},
        options=OPTIONS,
    )


def with_options(cell: Cell, **options: Any) -> Cell:
    return replace(cell, options={**cell.options, **options})


def test_every_exit_is_scored_with_its_images_behind_it(cell: Cell, context: Context) -> None:
    measured = exits.measure(cell, context)
    detail = measured.detail
    assert json.loads(json.dumps(detail)) == detail
    assert list(detail["exits"]) == ["1", "2", "3"]
    assert measured.samples == [detail["exits"]["3"]["all"]["pq"]]
    for place, layer in enumerate(detail["exits"]):
        stats = [ImageStats.from_json(one[place]) for one in detail["per_image"].values()]
        categories = {c for image in stats for c in image}
        assert summarise(accumulate(stats), categories, ())["all"].pq == pytest.approx(
            detail["exits"][layer]["all"]["pq"]
        )
        low, high = detail["exits"][layer]["interval"]
        assert low <= high


def test_the_derived_data_set_is_summed_up(cell: Cell, context: Context) -> None:
    detail = derivation.measure(cell, context).detail
    assert {split: sum(counts.values()) for split, counts in detail["best_exits"].items()} == {"val": 3, "train": 3}
    validation, _ = derived(cell, context, trained(cell, context), "val")
    means = [sum(image_pq(image.stats[place]) for image in validation.images.values()) / 3 for place in range(3)]
    assert list(detail["mean_pq"]["val"].values()) == pytest.approx(means)


def test_a_model_is_trained_once(cell: Cell, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = exits.measure(cell, context)
    monkeypatch.setattr("effbench.probes.training_options.Trainer", lambda *_: pytest.fail("it is trained again"))
    second = exits.measure(cell, context)
    assert (first.detail["cached"], second.detail["cached"]) == (False, True)
    assert first.detail["exits"] == second.detail["exits"]
    assert first.detail["seconds"]["training"] == second.detail["seconds"]["training"], "whenever that was"


@pytest.mark.parametrize("change", [{"steps": 3}, {"exit_loss": "last"}, {"seed": 1}])
def test_another_recipe_is_another_model(change: dict[str, Any], cell: Cell, context: Context) -> None:
    other = with_options(cell, recipe={**OPTIONS["recipe"], **change})
    assert trained(cell, context).path != trained(other, context).path


def test_a_gate_says_what_it_chose_and_what_that_is_worth(cell: Cell, context: Context) -> None:
    measured = gate.measure(with_options(cell, gate={"beta": 0.01, "steps": 20}), context)
    detail = measured.detail
    json.dumps(detail, allow_nan=False)
    model = trained(cell, context)
    validation, _ = derived(cell, context, model, "val")
    chosen = [validation.images[int(image)].stats[LAYERS.index(layer)] for image, layer in detail["choices"].items()]
    categories = {c for image in chosen for c in image}
    assert summarise(accumulate(chosen), categories, ())["all"].pq == pytest.approx(detail["quality"]["all"]["pq"])
    assert detail["value"]["dataset"]["gate"]["value"] == pytest.approx(detail["quality"]["all"]["pq"])
    assert detail["chosen"]["val"]["mean"] == pytest.approx(sum(detail["choices"].values()) / 3)
    assert sum(detail["target"]["train"]["images"].values()) == 3
    assert measured.unit == "s" and measured.samples[0] > 0


@pytest.mark.usefixtures("quick_watch")
def test_the_ledger_counts_the_layers_that_ran(cell: Cell, context: Context) -> None:
    measured = ledger.measure(with_options(cell, gate={"beta": 0.0, "steps": 20}, ledger_images=3), context)
    rows = measured.detail["images"]
    assert len(rows) == 3
    counted = segmenter(cell, device="meta")
    for row in rows:
        assert row["layers"] == row["exit"] and row["full_layers"] == 3
        layers = count_part(counted, "encoder", (64, 64), row["exit"]).by_component("complete")["total"]
        assert row["macs"] == layers + 3 * 32, "and the gate's"
        assert 0 < row["encoder_s"] < row["total_s"] and 0 < row["full_encoder_s"] < row["full_total_s"]
    validation, _ = derived(cell, context, trained(cell, context), "val")
    for row in rows:
        stats = validation.images[row["image"]].stats
        assert row["pq"] == image_pq(stats[LAYERS.index(row["exit"])]) and row["full_pq"] == image_pq(stats[-1])
    assert measured.samples == [row["total_s"] for row in rows]
    assert measured.detail["batches"].keys() == {"1", "2"}, "three images make no batch of 8"
    for size, batch in measured.detail["batches"].items():
        assert len(batch["gated_s"]) == len(batch["full_s"]) == 3 // int(size)
        assert batch["layers_per_image"] == sum(batch["exits"]) / len(batch["exits"])
    assert len(measured.detail["gate_s"]) == 3

"""The probes of early exit on a tiny model: exits are scored, a gate is trained, and the ledger counts what ran."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from effbench.data.annotations import Categories, Category
from effbench.encoders.contract import exits_of
from effbench.errors import InputError
from effbench.probes import derivation, exit_examples, exit_quality, exits, gate, ledger
from effbench.probes.base import Context, segmenter
from effbench.probes.exit_models import derived, gated, trained
from effbench.probes.mac_count import count_part
from effbench.quality import ImageStats, PanopticMap, accumulate, image_pq, summarise
from effbench.quality.panoptic import SegmentInfo
from effbench.study.cell import Cell
from effbench.training.gate import install

MakeCell = Callable[..., Cell]
LAYERS = (1, 2, 3)
OTHERS = ("backbone", "decoder")
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
        others = sum(count_part(counted, part, (64, 64)).by_component("complete")["total"] for part in OTHERS)
        assert row["total_macs"] == row["macs"] + others
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


@pytest.mark.usefixtures("quick_watch")
def test_the_ledger_counts_every_image_at_its_own_size(cell: Cell, context: Context) -> None:
    """Photos differ in size: none of the three makes a batch with another, and a wider one takes more."""
    photos = with_options(cell, gate={"beta": 0.0, "steps": 20}, ledger_images=3)
    counts = ledger.ExitMacs(photos, LAYERS)
    small, wide = counts.of(torch.zeros(1, 3, 64, 64)), counts.of(torch.zeros(1, 3, 64, 90))
    assert small[3][0] < wide[3][0] and small[3][1] - small[3][0] < wide[3][1] - wide[3][0]
    assert wide[3][1] - wide[3][0] == wide[1][1] - wide[1][0], "backbone and decoder know no exits"
    assert counts.of(torch.zeros(1, 3, 64, 65)) == counts.of(torch.zeros(1, 3, 64, 96)), "padded, they are alike"
    alike, wider = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 96)
    groups = ledger._groups([alike, wider, alike, wider, alike], 2)
    assert [tuple(group.shape) for group in groups] == [(2, 3, 64, 64), (2, 3, 64, 96)]


def test_a_gate_of_fewer_exits_never_goes_deeper(cell: Cell, context: Context) -> None:
    recipe = {"beta": 0.0, "k": 2, "steps": 20}
    made, gate = gated(with_options(cell, gate=recipe), context)
    assert gate.exits == (1, 2) and exits_of(made.model.encoder) == LAYERS
    left = exit_quality.measure(with_options(cell, gate=recipe), context).detail["exits"]
    assert set(left.values()) <= {1, 2}


def test_a_model_is_scored_as_it_runs(cell: Cell, context: Context) -> None:
    """At a fixed exit and by a gate: what passes through the model is what was derived."""
    validation, _ = derived(cell, context, trained(cell, context), "val")
    for place, layer in enumerate(LAYERS):
        detail = exit_quality.measure(with_options(cell, exit=layer), context).detail
        assert set(detail["exits"].values()) == {layer} and detail["mean_exit"] == layer and detail["as_derived"]
        stats = [image.stats[place] for image in validation.images.values()]
        categories = {c for image in stats for c in image}
        assert detail["all"]["pq"] == pytest.approx(summarise(accumulate(stats), categories, ())["all"].pq)
        assert {"miou", "ap", "things", "stuff"} <= detail.keys()
    recipe = {"beta": 0.01, "steps": 20}
    measured = exit_quality.measure(with_options(cell, gate=recipe), context)
    chosen = gate.measure(with_options(cell, gate=recipe), context).detail
    assert measured.detail["exits"] == chosen["choices"] and measured.detail["as_derived"]
    assert measured.samples == [pytest.approx(chosen["quality"]["all"]["pq"])]
    assert measured.detail["histogram"] == chosen["chosen"]["val"]["images"]


def test_what_was_derived_from_another_model_is_seen(
    cell: Cell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, data = derived(cell, context, trained(cell, context), "val")
    perfect = ImageStats.from_json({"1": [1.0, 1, 0, 0]})
    spoilt = {image: replace(one, stats=(perfect,) * 3) for image, one in found.images.items()}
    monkeypatch.setattr(exit_quality, "derived", lambda *_: (replace(found, images=spoilt), data))
    assert not exit_quality.measure(with_options(cell, exit=2), context).detail["as_derived"]


def test_examples_are_pictures_of_every_exit_that_is_taken(cell: Cell, context: Context) -> None:
    recipe = {"beta": 0.0, "steps": 20}
    measured = exit_examples.measure(with_options(cell, gate=recipe), context)
    chosen = gate.measure(with_options(cell, gate=recipe), context).detail["choices"]
    shown = measured.detail["examples"]
    assert {str(one["image_id"]): one["gated"]["exit"] for one in shown} == chosen, "three images are all shown"
    validation, _ = derived(cell, context, trained(cell, context), "val")
    for one, won in zip(shown, measured.samples, strict=True):
        stats = validation.images[one["image_id"]].stats
        assert one["gated"]["pq"] == image_pq(stats[LAYERS.index(one["gated"]["exit"])])
        assert one["deepest"] == {"exit": 3, "pq": image_pq(stats[-1])}
        assert won == one["gated"]["pq"] - one["deepest"]["pq"]
        for picture in one["pictures"].values():
            assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (64, 64)


@pytest.mark.parametrize(
    ("exits", "count", "expected"),
    [([2, 2, 2, 4, 6], 3, [0, 3, 4]), ([6, 2, 2, 2], 3, [1, 2, 0]), ([3, 3], 8, [0, 1])],
)
def test_examples_take_every_exit_in_turn(exits: list[int], count: int, expected: list[int]) -> None:
    assert exit_examples._spread(exits, count) == expected


def test_segments_are_painted_with_lines_between_them() -> None:
    rows = (Category(7, "cat", True, (10, 20, 30)), Category(9, "sky", False, (40, 50, 60)))
    ids = np.array([[0, 0, 0, 0], [1, 1, 2, 2], [1, 1, 2, 2]])
    found = PanopticMap(ids, [SegmentInfo(1, 0), SegmentInfo(2, 1)])
    painted = np.asarray(exit_examples._painted(found, Categories(rows)))
    line = exit_examples.BORDER
    assert [tuple(pixel) for pixel in painted[2]] == [(10, 20, 30), (10, 20, 30), line, (40, 50, 60)]
    assert [tuple(pixel) for pixel in painted[0]] == [(0, 0, 0)] * 4 and tuple(painted[1, 0]) == line


def test_an_exit_or_a_gate_has_to_be_named(cell: Cell, context: Context) -> None:
    for options in ({}, {"exit": 2, "gate": {"beta": 0.0}}):
        with pytest.raises(InputError, match="takes either an exit or a gate, and got both or neither"):
            exit_quality.measure(with_options(cell, **options), context)


@pytest.mark.usefixtures("quick_watch")
@pytest.mark.parametrize("base", ["mask2former", "lite"])
def test_the_ledger_follows_images_that_leave_apart(
    base: str, cell: Cell, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that is made to tell the images apart: every row is of the exit that its image took."""
    settings = {"base": base, "layers": 3 if base == "mask2former" else 4, "exits": LAYERS}
    own = with_options(replace(cell, settings=settings), gate={"beta": 0.0, "steps": 20}, ledger_images=3)
    found, _ = derived(own, context, trained(own, context), "val")
    pooled = torch.from_numpy(found.pooled())
    mean = pooled.mean(0)
    from_mean = pooled - mean

    def apart(cell: Cell, context: Context) -> Any:
        model, gate = gated(cell, context)
        # the nearest of the images: of the squared distance, what is the same for all is left out
        bias = -2 * from_mean @ mean - from_mean.square().sum(1)
        nearest = replace(gate, weight=2 * from_mean.float(), bias=bias.float())
        install(nearest, model.model)
        return model, nearest

    monkeypatch.setattr(ledger, "gated", apart)
    detail = ledger.measure(own, context).detail
    last = 1 if base == "lite" else 0  # its last layer, which updates all tokens
    assert [row["exit"] for row in detail["images"]] == [1, 2, 3]
    assert [row["layers"] for row in detail["images"]] == [1 + last, 2 + last, 3 + last]
    assert {row["full_layers"] for row in detail["images"]} == {3 + last}
    macs = [row["macs"] for row in detail["images"]]
    assert macs == sorted(set(macs)), "the deeper, the dearer"
    for batch in detail["batches"].values():  # where they leave in a batch hangs on the last digit: they are that alike
        assert batch["layers_per_image"] == sum(batch["exits"]) / len(batch["exits"]) + last

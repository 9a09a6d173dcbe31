"""What all probes share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from effbench.errors import InputError
from effbench.probes.base import load_probe, needs_device, needs_nothing, parse_size, segmenter
from effbench.study.cell import Cell

PROBES = ["macs", "parameters", "latency", "quality", "warm_start", "ground_truth"]
CELL = Cell("fpn", "resnet_mini", dataset="any", size="64x64", classes=7, queries=5)


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_says_its_name_version_and_what_it_measures(name: str) -> None:
    probe = load_probe(name)
    assert (probe.NAME, probe.VERSION.isdigit()) == (name, True)
    assert probe.INSIDE and "\n" not in probe.INSIDE
    assert callable(probe.measure)


@pytest.mark.parametrize("name", PROBES)
def test_no_probe_misses_anything_for_a_cell_on_the_cpu(name: str) -> None:
    assert load_probe(name).missing(CELL) is None


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_what_runs_on_a_device_misses_one_that_is_not_there(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = replace(CELL, device=device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert needs_device(cell) == f"needs {device}, and this machine has no CUDA device"
    assert needs_nothing(cell) is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert needs_device(cell) is None


def test_an_unknown_probe_is_refused() -> None:
    with pytest.raises(InputError, match="no probe is called 'wattage'"):
        load_probe("wattage")


@pytest.mark.parametrize(("size", "expected"), [("64x96", (64, 96)), ("1024x2048", (1024, 2048))])
def test_a_size_is_height_by_width(size: str, expected: tuple[int, int]) -> None:
    assert parse_size(size) == expected


@pytest.mark.parametrize("size", ["coco", "64", "64x", "0x64", "64x-64", "²x64"])
def test_a_bad_size_is_refused(size: str) -> None:
    with pytest.raises(InputError, match="expected HxW"):
        parse_size(size)


def test_a_cell_is_built_with_its_settings_width_classes_and_queries() -> None:
    cell = Cell(
        "proscale",
        "resnet_mini",
        dataset="any",
        size="64x64",
        classes=7,
        queries=5,
        settings={"p": (0, 1, 2)},
        backbone_settings={"channels": (16, 24, 32, 40)},
        width={"dim": 32, "mask_dim": 64, "heads": 4, "ffn_dim": 64},
        decoder_settings={"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 2},
        dtype="float64",
    )
    model = segmenter(cell).eval()
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert len(model.encoder.transformer.encoder.layers) == 3
    assert (model.encoder.dim, model.encoder.mask_dim) == (32, 64)
    assert [spec.channels for spec in model.backbone.features.values()] == [16, 24, 32, 40]
    with torch.inference_mode():
        predictions = model(torch.rand(1, 3, 64, 64, dtype=torch.float64)).predictions
    assert len(predictions) == 3
    assert predictions[-1].logits.shape == (1, 5, 8)


def test_the_device_may_be_another_than_the_cells() -> None:
    assert {p.device.type for p in segmenter(CELL, device="meta").parameters()} == {"meta"}

"""A cell's identity is its content: the same on every machine, and another when anything changes."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from effbench.study.cell import Cell, label

CELL = Cell(
    "proscale",
    "r50",
    dataset="embedded/base",
    size="128x128",
    classes=13,
    queries=20,
    settings={"p": (1, 2, 3), "embedding": "max_pool"},
    width={"dim": 64},
    decoder_settings={"layers": 3},
    options={"recipe": {"steps": 800, "learning_rate": 1e-3}, "images": None},
)


def test_the_id_stays_what_it_was() -> None:
    """Records of earlier versions are found by it: a change here makes every finished measurement start anew."""
    assert CELL.id == "be5da87b67152326"


def test_json_and_back() -> None:
    again = Cell.from_json(json.loads(json.dumps(CELL.to_json())))
    assert again == CELL
    assert again.settings["p"] == (1, 2, 3), "a tuple, as the encoder takes it"
    assert again.id == CELL.id


def test_tuples_are_tuples_however_deep() -> None:
    deep = replace(CELL, options={"a": {"b": ((1, 2), [3])}})
    assert Cell.from_json(deep.to_json()).options == {"a": {"b": ((1, 2), (3,))}}


def test_order_and_kind_of_sequence_do_not_matter() -> None:
    assert replace(CELL, settings={"embedding": "max_pool", "p": [1, 2, 3]}).id == CELL.id


CHANGES: dict[str, Any] = {
    "encoder": "fpn",
    "backbone": "swin_t",
    "backbone_settings": {"layers": (2, 1, 1, 1)},
    "dataset": "coco",
    "size": "64x64",
    "classes": 19,
    "queries": 100,
    "settings": {"p": (1, 2, 4), "embedding": "max_pool"},
    "width": {},
    "decoder": "another",
    "decoder_settings": {"layers": 9},
    "device": "cuda",
    "dtype": "bfloat16",
    "batch": 2,
    "options": {},
}


@pytest.mark.parametrize("name", [field.name for field in fields(Cell)])
def test_every_field_is_part_of_the_identity(name: str) -> None:
    assert replace(CELL, **{name: CHANGES[name]}).id != CELL.id


def test_a_system_is_called_by_its_settings_and_not_by_its_width() -> None:
    assert CELL.system == "proscale(p=(1,2,3), embedding=max_pool)"
    assert label("fpn", {}) == "fpn"

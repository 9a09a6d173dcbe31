"""Training into a folder, and scoring what lies in one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.study.data_root import identify
from effbench.training import run
from effbench.training.checkpoint import load, save_atomic
from effbench.training.evaluate import Inference
from effbench.training.trainer import Recipe, StepReport

HOW = Inference(object_threshold=0.0)
REFUSED = r"model\.json describes another model, data set or recipe; name another folder or remove it"


def nothing(*_: Any) -> None:
    """Shows no progress."""


@pytest.fixture
def recipe(make_recipe: Callable[..., Recipe]) -> Recipe:
    return make_recipe(steps=2)


@pytest.fixture
def trained(model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe, tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "fpn"
    run.train(model_settings, tiny_root, recipe, folder, nothing)
    return folder


def test_what_was_trained_is_scored(trained: Path, tiny_root: Path) -> None:
    images: list[tuple[int, int]] = []
    scores = run.score(trained, tiny_root, 2, HOW, lambda *event: images.append(event))
    assert scores["images"] == 2
    assert images == [(1, 2), (2, 2)]
    for group in ("all", "things", "stuff"):
        assert scores[group].keys() == {"pq", "sq", "rq", "categories"}
        assert 0 <= scores[group]["pq"] <= 100
    assert json.loads(json.dumps(scores)) == scores


def test_the_model_that_comes_back_is_the_one_that_was_trained(trained: Path) -> None:
    model = run.load_model(trained)
    state = load(trained / "weights.pt")
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())


def test_settings_that_are_tuples_survive_the_folder(
    model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe, tmp_path: Path
) -> None:
    settings = {**model_settings, "encoder": "proscale", "p": (0, 0, 1), "heads": 4, "ffn_dim": 64}
    run.train(settings, tiny_root, recipe, tmp_path / "out", nothing)
    assert len(run.load_model(tmp_path / "out").encoder.transformer.encoder.layers) == 1


def test_training_again_does_nothing_and_ends_the_same(
    trained: Path, model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe
) -> None:
    before = load(trained / "weights.pt")
    reports: list[StepReport] = []
    weights = run.train(model_settings, tiny_root, recipe, trained, reports.append)
    assert reports == []
    assert all(torch.equal(x, before[name]) for name, x in load(weights).items())


def test_another_model_or_recipe_needs_another_folder(
    trained: Path,
    model_settings: dict[str, Any],
    tiny_root: Path,
    recipe: Recipe,
    make_recipe: Callable[..., Recipe],
) -> None:
    before = (trained / "weights.pt").read_bytes()
    for settings, other in [({**model_settings, "num_queries": 7}, recipe), (model_settings, make_recipe(steps=3))]:
        with pytest.raises(InputError, match=REFUSED):
            run.train(settings, tiny_root, other, trained, nothing)
    assert (trained / "weights.pt").read_bytes() == before


def test_another_data_set_does_too_but_not_another_place(
    trained: Path, model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe, tmp_path: Path
) -> None:
    assert json.loads((trained / "model.json").read_text())["data"] == identify(tiny_root, ["train2017"])
    root = Path(shutil.copytree(tiny_root, tmp_path / "elsewhere"))
    before = (trained / "weights.pt").read_bytes()
    run.train(model_settings, root, recipe, trained, nothing)
    annotations = root / "annotations/panoptic_train2017.json"
    content = json.loads(annotations.read_text())
    content["images"].pop()
    annotations.write_text(json.dumps(content))
    with pytest.raises(InputError, match=REFUSED):
        run.train(model_settings, root, recipe, trained, nothing)
    assert (trained / "weights.pt").read_bytes() == before


def test_weights_of_another_architecture_are_named_by_what_differs(
    trained: Path, make_model: Callable[..., Segmenter]
) -> None:
    other = make_model(encoder="mask2former", heads=4, ffn_dim=64, layers=1)
    save_atomic(other.state_dict(), trained / "weights.pt")
    with pytest.raises(InputError) as raised:
        run.load_model(trained)
    message = str(raised.value)
    assert "another architecture" in message
    assert "missing ['encoder.adapter_2" in message
    assert "unexpected ['encoder.input_proj" in message
    assert "\n" not in message


def test_weights_of_another_width_are_refused_in_one_line(trained: Path, make_model: Callable[..., Segmenter]) -> None:
    save_atomic(make_model(num_queries=9).state_dict(), trained / "weights.pt")
    with pytest.raises(InputError) as raised:
        run.load_model(trained)
    assert "decoder.query_feat.weight" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("missing", ["model.json", "weights.pt"])
def test_a_folder_without_a_trained_model_is_refused(missing: str, trained: Path) -> None:
    (trained / missing).unlink()
    with pytest.raises(InputError, match=rf"{missing} not found; expected a folder that `effbench train --out`"):
        run.load_model(trained)


def test_data_with_other_classes_is_refused(trained: Path, tiny_root: Path, tmp_path: Path) -> None:
    """Their numbers would mean other things."""
    root = tmp_path / "other"
    (root / "annotations").mkdir(parents=True)
    content = json.loads((tiny_root / "annotations/panoptic_val2017.json").read_text())
    content["categories"].append({"id": 200, "name": "fog", "isthing": 0, "color": [1, 2, 3]})
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(content))
    for folder in ("val2017", "panoptic_val2017"):
        (root / folder).symlink_to(tiny_root / folder)
    with pytest.raises(InputError, match="14"):
        run.score(trained, root, 1, HOW, nothing)

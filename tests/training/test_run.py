"""Training into a folder, and scoring what lies in one."""

from __future__ import annotations

import errno
import json
import os
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
    gone = content["images"].pop()["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]
    annotations.write_text(json.dumps(content))
    with pytest.raises(InputError, match=REFUSED):
        run.train(model_settings, root, recipe, trained, nothing)
    assert (trained / "weights.pt").read_bytes() == before


def test_weights_of_another_architecture_are_named_by_what_differs(
    trained: Path, make_model: Callable[..., Segmenter]
) -> None:
    own = load(trained / "weights.pt").keys()
    other = make_model(encoder="mask2former", heads=4, ffn_dim=64, layers=1).state_dict()
    save_atomic(other, trained / "weights.pt")
    with pytest.raises(InputError) as raised:
        run.load_model(trained)
    message = str(raised.value)
    assert "weights.pt is of another architecture than the model that it is for" in message
    assert f"{len(own - other.keys())} missing (encoder.adapter_2" in message
    assert f"{len(other.keys() - own)} unexpected (encoder.input_proj" in message
    assert f"and {len(other.keys() - own) - 5} more)" in message
    assert "encoder.mask_features.weight" in message, "the same name, another shape"
    assert "\n" not in message


def test_weights_of_another_width_are_refused_in_one_line(trained: Path) -> None:
    state = load(trained / "weights.pt")
    name = "decoder.query_feat.weight"
    save_atomic({**state, name: torch.cat((state[name], state[name]))}, trained / "weights.pt")
    with pytest.raises(InputError, match=rf": none missing, none unexpected, 1 of another shape \({name}\)") as raised:
        run.load_model(trained)
    assert "\n" not in str(raised.value)


def test_another_file_of_the_folder_is_no_weights(trained: Path) -> None:
    shutil.copy(trained / "training.pt", trained / "weights.pt")
    with pytest.raises(InputError, match=r"5 unexpected \(model, optimizer, pixel, seconds, step\)"):
        run.load_model(trained)


@pytest.mark.parametrize(
    "content", ["", '{"model": {"enc', "[]", "{}", '{"model": "fpn"}', '{"model": {"encoder": "fpn"}}', "\udcff"]
)
def test_a_description_that_is_none_is_refused(
    content: str, trained: Path, model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe
) -> None:
    """By whoever reads it, and nothing is written over it."""
    (trained / "model.json").write_text(content, errors="surrogateescape")
    before = {path: path.read_bytes() for path in trained.iterdir()}
    for call in (
        lambda: run.load_model(trained),
        lambda: run.train(model_settings, tiny_root, recipe, trained, nothing),
    ):
        with pytest.raises(InputError, match=r"model\.json describes no model .+ remove it and train again") as raised:
            call()
        assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in trained.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "why"),
    [({"encoder": "fpm"}, "no encoder is called 'fpm'"), ({"dim": 33}, "dim=33"), ({"backbone": "resnet5"}, "resnet5")],
)
def test_a_model_that_cannot_be_built_is_refused_by_its_file(change: dict[str, Any], why: str, trained: Path) -> None:
    described = json.loads((trained / "model.json").read_text())
    described["model"] |= change
    (trained / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=rf"model\.json describes a model that cannot be built here: .*{why}"):
        run.load_model(trained)


@pytest.mark.parametrize("name", ["weights.pt", "training.pt"])
def test_a_damaged_checkpoint_is_named(
    name: str, trained: Path, model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe
) -> None:
    os.truncate(trained / name, 1000)
    calls: dict[str, Callable[[], object]] = {
        "weights.pt": lambda: run.load_model(trained),
        "training.pt": lambda: run.train(model_settings, tiny_root, recipe, trained, nothing),
    }
    with pytest.raises(InputError, match=rf"{name} is no whole checkpoint"):
        calls[name]()


def test_a_full_disk_leaves_no_half_description(
    model_settings: dict[str, Any], tiny_root: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one would be refused for ever after."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"model\.json cannot be written"):
            run.train(model_settings, tiny_root, recipe, tmp_path, nothing)
    assert list(tmp_path.iterdir()) == []
    assert run.train(model_settings, tiny_root, recipe, tmp_path, nothing).is_file()


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
    with pytest.raises(InputError, match="has 16; expected"):
        run.score(trained, root, 1, HOW, nothing)

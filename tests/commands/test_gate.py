"""`effbench gate`: a gate from derived data alone, which `effbench eval --exit gate` uses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.models.segmenter import Segmenter
from effbench.training.checkpoint import load, save_atomic
from effbench.training.gate import TrainedGate

Call = Callable[..., Any]
Refused = Callable[..., str]
ESTIMATE = {"value", "low", "high"}


def test_a_gate_and_what_it_is_worth(effbench: Call, derived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = (derived / "weights.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(CocoPanoptic, "__getitem__", lambda *_: pytest.fail("it looks at an image"))
        patch.setattr(Segmenter, "forward", lambda *_: pytest.fail("it runs the model"))
        answer = effbench("gate", derived, "--beta", 0.003, "--json")
    assert answer.code == 0, answer
    said = answer.last
    assert said["path"] == str(derived / "gate.pt")
    assert said["exits"] == [1, 2, 3] and said["images"] == {"train": 3, "val": 3}
    assert (said["recipe"]["beta"], said["recipe"]["k"], said["recipe"]["loss"]) == (0.003, 0, "hard_ce")
    assert 0 < said["seconds"] < 30
    for of in ("target", "chosen"):
        for split in ("train", "val"):
            assert sum(said[of][split]["histogram"].values()) == 3 and 1 <= said[of][split]["mean"] <= 3
    assert said["chosen"]["train"] == said["target"]["train"], "three images are easily told apart"
    value = said["value"]["dataset"]
    assert value["fixed"].keys() == value["over_fixed"].keys() == {"1", "2", "3"}
    assert value["gate"].keys() == value["random"].keys() == value["oracle"].keys() == ESTIMATE
    for words in ("val, target", "dealt by chance", "all at 3", "oracle", f"Gate: {derived / 'gate.pt'}, trained in"):
        assert words in answer.out
    assert f"{value['gate']['value']:.2f} ({value['gate']['low']:.2f} to {value['gate']['high']:.2f})" in answer.out
    assert (derived / "weights.pt").read_bytes() == weights
    assert TrainedGate.read(derived / "gate.pt").recipe == said["recipe"]


@pytest.mark.parametrize(("options", "layers"), [((), {1, 2, 3}), (("--k", 2), {1, 2}), (("--k", 1), {1})])
def test_eval_leaves_where_the_gate_said(
    options: tuple[object, ...], layers: set[int], effbench: Call, derived: Path, how: list[object]
) -> None:
    """Its quality is the one that the derived data promised; and another gate takes the first one's place."""
    effbench("gate", derived, "--beta", 5)
    gate = effbench("gate", derived, "--beta", 0, *options, "--json").last
    assert set(gate["exits"]) == layers
    assert gate["value"]["dataset"]["fixed"].keys() == {"1", "2", "3"}, "beside the exits that k leaves out, too"
    answer = effbench("eval", derived, *how, "--exit", "gate", "--json")
    assert answer.code == 0, answer
    said = answer.last
    assert (said["exit"], said["gate"]) == ("gate", gate["recipe"])
    assert {layer: n for layer, n in said["histogram"].items() if n} == {
        layer: n for layer, n in gate["chosen"]["val"]["histogram"].items() if n
    }
    assert said["mean_exit"] == pytest.approx(gate["chosen"]["val"]["mean"])
    assert said["all"]["pq"] == pytest.approx(gate["value"]["dataset"]["gate"]["value"]) and said["all"]["pq"] > 0
    assert said["miou"]["classes"] > 0 and "ap" in said["ap"]
    assert f"mean {said['mean_exit']:.2f}" in answer.out


def test_eval_without_a_word_scores_the_deepest_exit(effbench: Call, derived: Path, how: list[object]) -> None:
    effbench("gate", derived, "--beta", 5)
    deepest = effbench("eval", derived, *how, "--json")
    assert deepest.last["exit"] == 3 and deepest.last["gate"] is None
    assert deepest.last["histogram"] == {"1": 0, "2": 0, "3": 3}
    assert "All images left after layer 3" in deepest.out
    assert deepest.last == effbench("eval", derived, *how, "--exit", 3, "--json").last


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--beta", -0.1), "beta=-0.1; expected a number of at least 0"),
        (("--beta", "nan"), "beta=nan; expected a number"),
        (("--beta", "inf"), "beta=inf; expected a number"),
        (("--beta", 0.1, "--k", 0, "--loss", "mse"), "loss='mse'; expected one of hard_ce, u_ce, soft_ce, soft_mse"),
        (("--beta", 0.1, "--k", -1), "k=-1; expected 0 for all exits, or a layer from 1, the first, to"),
    ],
)
def test_bad_recipes(options: tuple[object, ...], says: str, refused: Refused, derived: Path) -> None:
    assert says in refused("gate", derived, *options)
    assert not (derived / "gate.pt").exists()


def test_data_that_is_missing(effbench: Call, refused: Refused, early_exit: Path, how: list[object]) -> None:
    line = refused("gate", early_exit, "--beta", 0)
    assert f"{early_exit / 'derived-train.jsonl'} not found; expected what `effbench derive" in line
    effbench("derive", early_exit, *how, "--split", "train")
    assert "derived-val.jsonl not found" in refused("gate", early_exit, "--beta", 0)
    assert "model.json not found" in refused("gate", early_exit / "deeper", "--beta", 0)


def unfinished(folder: Path) -> None:
    """Spoils a folder, as the functions below do."""
    path = folder / "derived-train.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def other_image(folder: Path) -> None:
    path = folder / "derived-val.jsonl"
    path.write_text(path.read_text().replace('{"image": 2,', '{"image": 7,'))


def other_weights(folder: Path) -> None:
    weights = load(folder / "weights.pt")
    weights["decoder.class_embed.bias"] += 1
    save_atomic(weights, folder / "weights.pt")


def other_exits(folder: Path) -> None:
    path = folder / "model.json"
    described = json.loads(path.read_text())
    described["model"]["exits"] = [1, 3]
    path.write_text(json.dumps(described))
    weights = load(folder / "weights.pt")
    for part in ("weight", "bias"):
        name = f"encoder.transformer.encoder.gt.head.{part}"
        weights[name] = weights[name][:2]
    save_atomic(weights, folder / "weights.pt")


def other_split(folder: Path) -> None:
    shutil.copy(folder / "derived-train.jsonl", folder / "derived-val.jsonl")


def other_inference(folder: Path) -> None:
    path = folder / "derived-val.jsonl"
    path.write_text(path.read_text().replace('"short": 64', '"short": 96'))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (unfinished, "derived-train.jsonl holds 2 images"),
        (other_image, "derived-val.jsonl holds 3 images"),
        (other_weights, "derived-train.jsonl was derived from something else: model '"),
        (other_exits, "derived-train.jsonl was derived from something else: exits [1, 2, 3], expected [1, 3]"),
        (other_split, "derived-val.jsonl was derived from something else: data 'train of "),
        (other_inference, "derived-val.jsonl was derived from something else: inference {'short': 96"),
    ],
)
def test_data_that_does_not_match(
    spoil: Callable[[Path], None], says: str, effbench: Call, refused: Refused, derived: Path, how: list[object]
) -> None:
    assert effbench("gate", derived, "--beta", 0).code == 0
    before = (derived / "gate.pt").read_bytes()
    spoil(derived)
    assert says in refused("gate", derived, "--beta", 0)
    assert (derived / "gate.pt").read_bytes() == before
    if spoil in (other_weights, other_exits):
        line = refused("eval", derived, *how, "--exit", "gate")
        assert f"{derived / 'gate.pt'}: the gate" in line and "train " in line


def test_damaged_files(effbench: Call, refused: Refused, derived: Path, how: list[object]) -> None:
    assert effbench("gate", derived, "--beta", 0).code == 0
    os.truncate(derived / "gate.pt", 1000)
    assert f"{derived / 'gate.pt'} is no whole checkpoint" in refused("eval", derived, *how, "--exit", "gate")
    path = derived / "derived-train.jsonl"
    path.write_text("notes\n")
    assert f"{path} is no derived data set" in refused("gate", derived, "--beta", 0)
    assert f"{path} is no derived data set" in refused("derive", derived, *how)
    assert path.read_text() == "notes\n"


def test_a_full_disk_leaves_the_gate_before(effbench: Call, refused: Refused, derived: Path, quota: Call) -> None:
    assert effbench("gate", derived, "--beta", 0).code == 0
    before = (derived / "gate.pt").read_bytes()
    with quota(500):
        line = refused("gate", derived, "--beta", 5)
    assert f"{derived / 'gate.pt'} cannot be written" in line and "make room" in line
    assert (derived / "gate.pt").read_bytes() == before


def test_exits_that_eval_cannot_score(
    effbench: Call, refused: Refused, early_exit: Path, how: list[object], photos: Path, tmp_path: Path
) -> None:
    line = refused("eval", early_exit, *how, "--exit", "gate")
    assert f"{early_exit / 'gate.pt'} not found; expected the gate that `effbench gate` trains" in line
    assert "expected one of its exits: 1, 2, 3 or gate" in refused("eval", early_exit, *how, "--exit", 4)
    assert "exit 'deep'; expected gate, or a layer" in refused("eval", early_exit, *how, "--exit", "deep")
    shutil.copy(early_exit / "weights.pt", early_exit / "gate.pt")
    assert "expected a gate that step C wrote" in refused("eval", early_exit, *how, "--exit", "gate")
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--steps", 1, "--batch-size", 1, "--crop", 64]
    assert effbench("train", "fpn", "--out", tmp_path / "fpn", "--data-root", photos, *narrow).code == 0
    for exit in ("gate", 3):
        assert "expected one of its exits: none" in refused("eval", tmp_path / "fpn", *how, "--exit", exit)

"""The shared start: its name holds all it depends on, it is made once, and it gives what it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.models.segmenter import Segmenter
from effbench.study.source import closure
from effbench.training import warm_start
from effbench.training.criterion import CriterionSettings
from effbench.training.trainer import Recipe, StepReport
from effbench.training.warm_start import WarmStart

BACKBONE = {"layers": (1, 1, 1, 1)}
DECODER = {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1}


class Killed(Exception):
    """Stands for a kill in the middle of a training."""


def kill(report: StepReport) -> None:
    if report.step == 2:
        raise Killed


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def start(make_recipe: Callable[..., Recipe]) -> WarmStart:
    recipe = make_recipe(steps=3, checkpoint_every=0.0)
    return WarmStart("a tiny set", "resnet_mini", BACKBONE, 32, 6, DECODER, recipe)


CHANGES: dict[str, Callable[[WarmStart], WarmStart]] = {
    "steps": lambda s: replace(s, recipe=replace(s.recipe, steps=4)),
    "seed": lambda s: replace(s, recipe=replace(s.recipe, seed=1)),
    "precision": lambda s: replace(s, recipe=replace(s.recipe, precision="bfloat16")),
    "criterion": lambda s: replace(s, recipe=replace(s.recipe, criterion=CriterionSettings())),
    "data set": lambda s: replace(s, dataset="another set"),
    "backbone": lambda s: replace(s, backbone="r50"),
    "backbone settings": lambda s: replace(s, backbone_settings={"layers": (2, 1, 1, 1)}),
    "dim": lambda s: replace(s, dim=64),
    "queries": lambda s: replace(s, queries=7),
    "decoder": lambda s: replace(s, decoder_settings={**DECODER, "layers": 2}),
    "device": lambda s: replace(s, device="cuda"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_warm_start_has_another_name(change: str, start: WarmStart) -> None:
    assert warm_start.path_of(CHANGES[change](start)) != warm_start.path_of(start)


def test_every_field_can_make_it_another(start: WarmStart) -> None:
    changed = {name for change in CHANGES.values() for name in vars(start) if differs(change(start), start, name)}
    assert changed == {field.name for field in fields(WarmStart)}


def differs(first: WarmStart, second: WarmStart, name: str) -> bool:
    return bool(getattr(first, name) != getattr(second, name))


@pytest.mark.parametrize(
    "module", ["effbench.data.embedded", "effbench.data.embedded_scene", "effbench.training.warm_start"]
)
def test_the_source_that_draws_the_images_and_trains_on_them_is_in_its_name(
    module: str, start: WarmStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(warm_start, "source_hash", lambda names: asked.extend(names) or "one")
    before = warm_start.path_of(start)
    assert module in closure(asked)
    monkeypatch.setattr(warm_start, "source_hash", lambda names: "another")
    assert warm_start.path_of(start) != before


def test_it_is_made_once(start: WarmStart, tiny_root: Path, empty_cache: Path) -> None:
    reports: list[StepReport] = []
    path = warm_start.make(start, tiny_root, reports.append)
    assert path == warm_start.path_of(start)
    assert path.parent == empty_cache
    assert [report.step for report in reports] == [1, 2, 3]
    written = path.stat().st_mtime_ns
    assert warm_start.make(start, tiny_root, reports.append) == path
    assert len(reports) == 3
    assert path.stat().st_mtime_ns == written


def test_it_goes_on_after_a_kill_and_ends_the_same(start: WarmStart, tiny_root: Path, empty_cache: Path) -> None:
    undisturbed = torch.load(warm_start.make(start, tiny_root))
    warm_start.path_of(start).unlink()
    with pytest.raises(Killed):
        warm_start.make(start, tiny_root, kill)
    assert not warm_start.path_of(start).exists(), "a half-made one is none"
    reports: list[StepReport] = []
    resumed = torch.load(warm_start.make(start, tiny_root, reports.append))
    assert [report.step for report in reports] == [2, 3]
    for part in ("backbone", "decoder"):
        assert all(torch.equal(resumed[part][name], x) for name, x in undisturbed[part].items())
    assert sorted(path.suffix for path in empty_cache.iterdir()) in ([".pt"], [".lock", ".pt"])


@pytest.mark.parametrize("encoder", ["fpn", "mask2former"])
def test_the_backbone_and_decoder_are_warm_and_the_encoder_is_not(
    encoder: str, start: WarmStart, tiny_root: Path, make_model: Callable[..., Segmenter]
) -> None:
    settings: dict[str, Any] = {} if encoder == "fpn" else {"heads": 4, "ffn_dim": 64, "layers": 1}
    model, fresh = (make_model(encoder=encoder, **settings) for _ in range(2))
    path = warm_start.make(start, tiny_root)
    warm_start.apply(path, model)
    state = torch.load(path)
    for part in ("backbone", "decoder"):
        loaded = getattr(model, part).state_dict()
        assert loaded.keys() == state[part].keys()
        assert all(torch.equal(loaded[name], x) for name, x in state[part].items())
        assert any(not torch.equal(x, loaded[name]) for name, x in getattr(fresh, part).state_dict().items())
    assert all(torch.equal(x, y) for x, y in zip(model.encoder.parameters(), fresh.encoder.parameters(), strict=True))


def test_what_it_took_is_kept_whatever_came_between(start: WarmStart, tiny_root: Path) -> None:
    with pytest.raises(Killed):
        warm_start.make(start, tiny_root, kill)
    unfinished = warm_start.path_of(start).with_suffix(".partial")
    state = torch.load(unfinished)
    assert 0 < state["seconds"] < 1000
    torch.save({**state, "seconds": 1000.0}, unfinished)
    assert 1000 < torch.load(warm_start.make(start, tiny_root))["seconds"] < 2000


def test_the_backbones_settings_are_built(start: WarmStart, tiny_root: Path) -> None:
    deeper = replace(start, backbone_settings={"layers": (2, 1, 1, 1)})
    plain, deep = (torch.load(warm_start.make(s, tiny_root))["backbone"] for s in (start, deeper))
    assert plain.keys() < deep.keys()

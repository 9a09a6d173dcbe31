"""The shared start: its name holds all it depends on, it is made once, and it gives what it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from effbench.models.segmenter import Segmenter
from effbench.training import warm_start
from effbench.training.criterion import CriterionSettings
from effbench.training.trainer import Recipe, StepReport
from effbench.training.warm_start import WarmStart

DECODER = {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def start(make_recipe: Callable[..., Recipe]) -> WarmStart:
    return WarmStart("resnet_mini", 32, 6, DECODER, make_recipe(steps=3, checkpoint_every=0.0))


CHANGES: dict[str, Callable[[WarmStart], WarmStart]] = {
    "steps": lambda s: replace(s, recipe=replace(s.recipe, steps=4)),
    "seed": lambda s: replace(s, recipe=replace(s.recipe, seed=1)),
    "criterion": lambda s: replace(s, recipe=replace(s.recipe, criterion=CriterionSettings())),
    "backbone": lambda s: replace(s, backbone="r50"),
    "dim": lambda s: replace(s, dim=64),
    "queries": lambda s: replace(s, queries=7),
    "decoder": lambda s: replace(s, decoder_settings={**DECODER, "layers": 2}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_warm_start_has_another_name(change: str, start: WarmStart, tiny_root: Path) -> None:
    other = CHANGES[change](start)
    assert warm_start.path_of(other, tiny_root) != warm_start.path_of(start, tiny_root)


def test_another_data_set_does_too_but_not_another_place(start: WarmStart, tiny_root: Path) -> None:
    here = warm_start.path_of(start, tiny_root)
    assert warm_start.path_of(start, tiny_root.parent / "other-64px") != here
    assert warm_start.path_of(start, Path("/elsewhere") / tiny_root.name) == here


def test_it_is_made_once(start: WarmStart, tiny_root: Path, empty_cache: Path) -> None:
    reports: list[StepReport] = []
    path = warm_start.make(start, tiny_root, reports.append)
    assert path == warm_start.path_of(start, tiny_root)
    assert path.parent == empty_cache
    assert [report.step for report in reports] == [1, 2, 3]
    written = path.stat().st_mtime_ns
    assert warm_start.make(start, tiny_root, reports.append) == path
    assert len(reports) == 3
    assert path.stat().st_mtime_ns == written


def test_it_goes_on_after_a_kill_and_ends_the_same(start: WarmStart, tiny_root: Path, empty_cache: Path) -> None:
    class Killed(Exception):
        pass

    def kill(report: StepReport) -> None:
        if report.step == 2:
            raise Killed

    undisturbed = torch.load(warm_start.make(start, tiny_root))
    warm_start.path_of(start, tiny_root).unlink()
    with pytest.raises(Killed):
        warm_start.make(start, tiny_root, kill)
    assert not warm_start.path_of(start, tiny_root).exists(), "a half-made one is none"
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


def test_what_it_took_is_kept(start: WarmStart, tiny_root: Path) -> None:
    assert torch.load(warm_start.make(start, tiny_root))["seconds"] > 0

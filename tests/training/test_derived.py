"""Step B: every exit's quality for every image, resumable, and never mixed up with another model's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.encoders.early_exit import EarlyExitEncoder
from effbench.errors import InputError
from effbench.models.segmenter import Segmenter
from effbench.quality import PanopticMap, image_pq, match_segments, tally
from effbench.training.derived import Derived, derive, fingerprint, load, provenance
from effbench.training.evaluate import Inference, predict

EARLY = {"encoder": "early_exit", "heads": 4, "ffn_dim": 64, "layers": 3, "exits": (1, 3)}
HOW = Inference(object_threshold=0.0, overlap_threshold=0.0)


@pytest.fixture
def data(tiny_root: Path) -> CocoPanoptic:
    return CocoPanoptic(tiny_root, "val2017")


@pytest.fixture
def model(make_model: Callable[..., Segmenter]) -> Segmenter:
    """A model whose decoder paints something at every exit, not the same at each."""
    made = make_model(**EARLY)
    with torch.no_grad():
        for parameter in made.encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        made.decoder.class_embed.bias[-1] -= 10  # type: ignore[union-attr, index, operator]
    return made


def derived(model: Segmenter, data: CocoPanoptic, path: Path) -> Derived:
    return derive(model, data, HOW, path, "tiny val2017")


def test_every_exit_is_scored_as_a_forced_exit_would_be(model: Segmenter, data: CocoPanoptic, tmp_path: Path) -> None:
    found = derived(model, data, tmp_path / "derived.jsonl")
    assert found.exits == (1, 3) and list(found.images) == data.image_ids
    for i in range(len(data)):
        sample = data[i]
        for place, layer in enumerate(found.exits):
            alone = predict(model.eval(), sample, data.categories.things, HOW, layer).panoptic
            stats = tally(match_segments(PanopticMap(sample.id_map, sample.segments), alone))
            assert found.images[sample.image_id].stats[place] == stats
            assert found.quality()[i, place] == pytest.approx(image_pq(stats) / 100)
    assert len({stats for image in found.images.values() for stats in map(str, image.stats)}) > len(data)


def test_what_the_gate_sees_is_kept(model: Segmenter, data: CocoPanoptic, tmp_path: Path) -> None:
    found = derived(model, data, tmp_path / "derived.jsonl")
    encoder = model.encoder
    assert isinstance(encoder, EarlyExitEncoder)
    with torch.inference_mode():
        image = data[1].image[None].float() / 255
        expected = encoder.pooled(model.backbone(model.prepare(image)))[0]
    np.testing.assert_allclose(found.pooled()[1], expected.numpy(), rtol=1e-6)


def test_a_killed_run_goes_on_where_it_stopped(model: Segmenter, data: CocoPanoptic, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    expected = derived(model, data, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join(lines[:2]) + lines[2][:40])
    measured: list[tuple[int, int]] = []
    again = derive(model, data, HOW, killed, "tiny val2017", lambda done, total: measured.append((done, total)))
    assert again.images == expected.images
    assert killed.read_bytes() == whole.read_bytes()
    assert measured == [(1, 3), (2, 3), (3, 3)]


def test_a_finished_one_measures_nothing(
    model: Segmenter, data: CocoPanoptic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = derived(model, data, tmp_path / "derived.jsonl")
    monkeypatch.setattr(CocoPanoptic, "__getitem__", lambda *_: pytest.fail("it looks at an image again"))
    assert derived(model, data, tmp_path / "derived.jsonl").images == expected.images


def test_the_gate_changes_nothing_about_what_exits_are_worth(model: Segmenter) -> None:
    before = fingerprint(model)
    encoder = model.encoder
    assert isinstance(encoder, EarlyExitEncoder)
    with torch.no_grad():
        encoder.gate.weight.add_(1)
    assert fingerprint(model) == before
    with torch.no_grad():
        model.decoder.class_embed.bias.add_(1)  # type: ignore[union-attr, operator]
    assert fingerprint(model) != before


def test_another_models_is_refused(
    model: Segmenter, make_model: Callable[..., Segmenter], data: CocoPanoptic, tmp_path: Path
) -> None:
    path = tmp_path / "derived.jsonl"
    derived(model, data, path)
    with pytest.raises(InputError, match=r"was derived from something else: model '.*', expected '.*'; name another"):
        derived(make_model(seed=5, **EARLY), data, path)
    with pytest.raises(InputError, match=r"exits \[1, 3\], expected \[1, 2, 3\]"):
        derived(make_model(**{**EARLY, "exits": (1, 2, 3)}), data, path)
    with pytest.raises(InputError, match="data 'tiny val2017', expected 'another'"):
        derive(model, data, HOW, path, "another")
    with pytest.raises(InputError, match=r"inference .*0\.8"):
        load(path, provenance(model, data, "tiny val2017", Inference()))


def test_an_encoder_without_exits_is_refused(
    make_model: Callable[..., Segmenter], data: CocoPanoptic, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no early exits; expected the encoder early_exit"):
        derived(make_model(), data, tmp_path / "derived.jsonl")
    assert not list(tmp_path.iterdir())


def test_other_images_under_the_same_name_are_refused(
    model: Segmenter, data: CocoPanoptic, tiny_root: Path, tmp_path: Path
) -> None:
    derived(model, data, tmp_path / "derived.jsonl")
    with pytest.raises(InputError, match=r"images '3 images [0-9a-f]+', expected '2 images [0-9a-f]+'"):
        derived(model, CocoPanoptic(tiny_root, "val2017", limit=2), tmp_path / "derived.jsonl")


def test_a_model_is_known_by_what_it_is_made_of_too(make_model: Callable[..., Segmenter]) -> None:
    """Pooling has no weights, and a half-precision copy the same numbers."""
    one, other = (make_model(**EARLY, embedding=kind) for kind in ("max_pool", "avg_pool"))
    other.load_state_dict(one.state_dict())
    prints = {fingerprint(one), fingerprint(other), fingerprint(one.bfloat16())}
    assert len(prints) == 3


@pytest.mark.parametrize("text", ["one line and no end", "a torn\nfile"])
def test_a_file_that_is_somebody_elses_stays_as_it_is(
    text: str, model: Segmenter, data: CocoPanoptic, tmp_path: Path
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match="is no derived data set"):
        derived(model, data, path)
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["nothing", json.dumps({"no": 1}), json.dumps([1])])
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "derived.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(InputError, match="is no derived data set"):
        load(path)


def test_settings_without_weights_of_their_own_are_part_of_a_models_identity(
    make_model: Callable[..., Segmenter],
) -> None:
    """4 heads that look at 2 points have as many weights as 2 heads that look at 4, and other maps."""
    one, other = (
        make_model(encoder="early_exit", layers=2, exits=(1, 2), heads=heads, points=points)
        for heads, points in ((4, 2), (2, 4))
    )
    other.load_state_dict(one.state_dict())
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(make_model(encoder="early_exit", layers=2, exits=(1, 2), heads=4, points=2))

"""Encoders by name, from this package and from others."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import effbench
from effbench.encoders import registry
from effbench.encoders.contract import Encoder, FeatureSpec, SettingError
from effbench.encoders.registry import build_encoder, encoder_class, register, registered, setting_defaults


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", dict(registered()))


def test_encoders_of_this_package_are_found_without_a_list() -> None:
    assert {"fpn", "mask2former", "proscale"} <= registered().keys()
    assert list(registered()) == sorted(registered())
    assert all(issubclass(cls, Encoder) for cls in registered().values())


def test_the_top_of_the_package_offers_the_builder() -> None:
    assert effbench.build_encoder is build_encoder


def test_unknown_encoder_gives_near_matches_and_all_names() -> None:
    with pytest.raises(SettingError) as raised:
        encoder_class("proscal")
    assert "'proscal'; did you mean proscale" in str(raised.value)
    assert str(raised.value).endswith("known: " + ", ".join(registered()))


def test_unknown_encoder_far_from_all_gives_no_hint(specs: dict[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError) as raised:
        build_encoder("zzz", specs)
    assert "did you mean" not in str(raised.value) and "known: " in str(raised.value)


def test_unknown_setting_gives_a_near_match_and_all_settings(specs: dict[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError) as raised:
        build_encoder("proscale", specs, recalibrate="off")
    assert "proscale has no setting 'recalibrate'; did you mean recalibration?" in str(raised.value)
    assert str(raised.value).endswith("allowed: " + ", ".join(setting_defaults("proscale")))


def test_setting_defaults_are_those_of_the_papers() -> None:
    assert setting_defaults("mask2former") == {
        "layers": 6,
        "dim": 256,
        "mask_dim": 256,
        "embedding": "conv",
        "heads": 8,
        "points": 4,
        "ffn_dim": 1024,
        "impl": "auto",
    }
    proscale = setting_defaults("proscale")
    assert (proscale["p"], proscale["embedding"]) == ((3, 3, 3), "max_pool")
    assert (proscale["recalibration"], proscale["temperature"], proscale["residual"]) == (
        "released",
        0.1,
        False,
    )


@pytest.mark.usefixtures("own_registry")
def test_a_name_is_taken_once() -> None:
    cls = encoder_class("fpn")
    assert register("fpn")(cls) is cls, "reloading a module registers the same class again"
    with pytest.raises(ValueError, match=r"'fpn' is registered twice: effbench\.encoders\.fpn and effbench\.encoders"):
        register("fpn")(encoder_class("mask2former"))
    assert encoder_class("fpn") is cls


@pytest.mark.usefixtures("own_registry")
def test_an_installed_package_offers_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, specs: dict[str, FeatureSpec]
) -> None:
    (tmp_path / "somebodys_encoder.py").write_text(
        "from effbench.encoders.fpn import FPNEncoder\n"
        "class Wider(FPNEncoder):\n"
        "    def __init__(self, features, *, width=1):\n"
        "        super().__init__(features, dim=64 * width)\n"
    )
    info = tmp_path / "somebodys_encoder-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-encoder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[effbench.encoders]\nwider_fpn = somebodys_encoder:Wider\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    try:
        assert "wider_fpn" in registered()
        assert setting_defaults("wider_fpn") == {"width": 1}
        assert build_encoder("wider_fpn", specs, width=2).dim == 128
        assert registered() == registered(), "asking again finds the same"
    finally:
        sys.modules.pop("somebodys_encoder", None)

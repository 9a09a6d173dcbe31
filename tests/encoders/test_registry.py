"""Encoders by name, from this package and from others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
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
    monkeypatch.setattr(registry, "_entry_points", dict(registry._entry_points))


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
        "res2": True,
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
    unet, rt = setting_defaults("convnext_unet"), setting_defaults("rt")
    assert (unet["n"], unet["d"], unet["squeeze_excite"]) == ((18, 1, 1), (384, 384, 384), True)
    assert (rt["fused"], rt["embedding"], rt["heads"], rt["ffn_dim"]) == (False, "conv", 8, 1024)


@pytest.mark.usefixtures("own_registry")
def test_a_name_is_taken_once() -> None:
    cls = encoder_class("fpn")
    assert register("fpn")(cls) is cls, "reloading a module registers the same class again"
    with pytest.raises(ValueError, match=r"'fpn' is registered twice: effbench\.encoders\.fpn and effbench\.encoders"):
        register("fpn")(encoder_class("mask2former"))
    assert encoder_class("fpn") is cls


# --- entry points ----------------------------------------------------------------------------------------------------

Install = Callable[[str, str], None]
WIDER = """
from effbench.encoders.fpn import FPNEncoder
class Wider(FPNEncoder):
    def __init__(self, features, *, width=1):
        super().__init__(features, dim=64 * width)
"""


@pytest.fixture
def install(own_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package with the module `somebodys_encoder` and an entry point (`name = module:class`)."""

    def put(code: str, entry_point: str) -> None:
        (tmp_path / "somebodys_encoder.py").write_text(code)
        info = tmp_path / "somebodys_encoder-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-encoder\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[effbench.encoders]\n{entry_point}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    yield put
    sys.modules.pop("somebodys_encoder", None)


def test_an_installed_package_offers_an_encoder(install: Install, specs: dict[str, FeatureSpec]) -> None:
    install(WIDER, "wider_fpn = somebodys_encoder:Wider")
    assert "wider_fpn" in registered()
    assert setting_defaults("wider_fpn") == {"width": 1}
    assert build_encoder("wider_fpn", specs, width=2).dim == 128
    assert registered() == registered(), "asking again finds the same"


def test_a_class_that_is_registered_and_offered_is_one_encoder(install: Install) -> None:
    registering = WIDER.replace(
        "class", 'from effbench.encoders.registry import register\n@register("wider_fpn")\nclass'
    )
    install(registering, "wider_fpn = somebodys_encoder:Wider")
    assert encoder_class("wider_fpn").__module__ == "somebodys_encoder"
    assert registered() == registered()


def test_an_offer_under_a_taken_name_is_refused(install: Install) -> None:
    install(WIDER, "fpn = somebodys_encoder:Wider")
    with pytest.raises(
        SettingError, match=r"somebodys_encoder:Wider offers encoder 'fpn', which effbench\.encoders\.fpn"
    ):
        registered()


@pytest.mark.parametrize(
    ("code", "entry_point", "why"),
    [
        (WIDER, "wider_fpn = nobodys_encoder:Wider", "No module named 'nobodys_encoder'"),
        (WIDER, "wider_fpn = somebodys_encoder:Narrower", "has no attribute 'Narrower'"),
        ("1 / 0", "wider_fpn = somebodys_encoder:Wider", "division by zero"),
        ("def", "wider_fpn = somebodys_encoder:Wider", "invalid syntax"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(code: str, entry_point: str, why: str, install: Install) -> None:
    install(code, entry_point)
    with pytest.raises(SettingError, match=f"entry point {entry_point} cannot be loaded") as raised:
        registered()
    assert why in str(raised.value)
    assert str(raised.value).endswith("mend or uninstall its package")
    assert "\n" not in str(raised.value)

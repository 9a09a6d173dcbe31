"""The checks that every encoder's constructor relies on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from effbench.encoders.contract import (
    Encoder,
    EncoderOutput,
    FeatureSpec,
    SettingError,
    check_features,
    choice,
    multiple,
    positive,
)

FEATURES = {"res2": (8, 4), "res3": (16, 8), "res4": (32, 16), "res5": (64, 32)}


def test_features_come_back_fine_to_coarse_whatever_their_order() -> None:
    specs = check_features({"stem": (4, 2), **dict(reversed(FEATURES.items()))})
    assert list(specs.items()) == [(name, FeatureSpec(*spec)) for name, spec in FEATURES.items()]


def test_missing_maps_are_named() -> None:
    with pytest.raises(SettingError, match=r"features has \['res2', 'res5'\], expected .*: res3, res4 missing"):
        check_features({"res5": FeatureSpec(64, 32), "res2": FeatureSpec(8, 4)})


def test_a_wrong_stride_is_named() -> None:
    with pytest.raises(SettingError, match=r"features\['res5'\] has stride 16, expected 32"):
        check_features({**FEATURES, "res5": (64, 16)})


def test_setting_errors_are_value_errors() -> None:
    assert issubclass(SettingError, ValueError)


@pytest.mark.parametrize("value", [0, -3, 2.0, "2", None, True])
def test_positive_refuses(value: object) -> None:
    with pytest.raises(SettingError, match=r"^layers=.*, expected an integer of at least 1$"):
        positive("layers", value)


def test_positive_returns_the_value_and_takes_another_least() -> None:
    assert (positive("n", 3), positive("n", 0, least=0)) == (3, 0)
    with pytest.raises(SettingError, match="n=1, expected an integer of at least 2"):
        positive("n", 1, least=2)


def test_multiple() -> None:
    assert multiple("dim", 64, 32, "groups") == 64
    with pytest.raises(SettingError, match="dim=40 is not divisible by groups=32; expected a multiple of 32"):
        multiple("dim", 40, 32, "groups")
    with pytest.raises(SettingError, match="dim=0, expected an integer"):
        multiple("dim", 0, 32, "groups")


def test_choice() -> None:
    assert choice("kind", "b", ("a", "b")) == "b"
    with pytest.raises(SettingError, match="kind='c', expected one of a, b"):
        choice("kind", "c", ("a", "b"))


def test_output_is_frozen_and_has_no_exit_unless_given() -> None:
    x = torch.zeros(1)
    output = EncoderOutput(x, (x, x, x))
    assert output.exit is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        output.exit = x  # type: ignore[misc]


def test_an_encoder_without_forward_cannot_be_built() -> None:
    class Unfinished(Encoder):
        pass

    with pytest.raises(TypeError, match="forward"):
        Unfinished(FEATURES, 64, 64)  # type: ignore[abstract]

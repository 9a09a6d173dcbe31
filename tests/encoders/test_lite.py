"""The interleaved encoder: what each layer updates, and that one layer is an ordinary one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import FeatureSpec, SettingError
from effbench.encoders.registry import build_encoder

Pyramid = Callable[[], dict[str, Tensor]]
NARROW = {"dim": 64, "mask_dim": 64, "heads": 4, "ffn_dim": 64}


def test_one_layer_is_mask2formers(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    lite = build_encoder("lite", specs, layers=1, **NARROW)
    ordinary = build_encoder("mask2former", specs, layers=1, **NARROW)
    ordinary.load_state_dict(lite.state_dict())
    maps = pyramid()
    torch.testing.assert_close(lite(maps).mask_features, ordinary(maps).mask_features)


def test_fine_tokens_meet_the_last_layer_as_they_were_projected(
    specs: Mapping[str, FeatureSpec], pyramid: Pyramid
) -> None:
    encoder = build_encoder("lite", specs, layers=3, **NARROW)
    seen: list[tuple[Tensor, ...]] = []
    stack = encoder.transformer.encoder
    for layer in stack.layers:
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append((args[0], kwargs.get("tokens", args[0]))), with_kwargs=True
        )
    maps = pyramid()
    encoder(maps)
    projected = encoder.input_proj[2](maps["res3"]).flatten(2).transpose(1, 2)
    fine = projected.shape[1]
    for _, tokens in seen:
        torch.testing.assert_close(tokens[:, -fine:], projected)
    lengths = [queries.shape[1] for queries, _ in seen]
    everything = seen[-1][1].shape[1]
    assert lengths == [everything - fine, everything - fine, everything]


def test_the_coarse_tokens_look_at_the_fine_ones(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    encoder = build_encoder("lite", specs, layers=2, **NARROW)
    maps = pyramid()
    changed = {**maps, "res3": maps["res3"] + torch.randn_like(maps["res3"])}
    first = encoder.transformer.encoder.layers[0]
    outputs: list[Tensor] = []
    first.register_forward_hook(lambda *args: outputs.append(args[-1]))
    encoder(maps)
    encoder(changed)
    assert not torch.allclose(*outputs)


def test_without_layers_it_is_refused(specs: Mapping[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match="layers=0, expected an integer of at least 1"):
        build_encoder("lite", specs, layers=0)

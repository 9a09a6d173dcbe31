"""The feature pyramid network: what flows where."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import FeatureSpec
from effbench.encoders.fpn import FPNEncoder

Pyramid = Callable[..., dict[str, Tensor]]


@pytest.mark.parametrize("changed", ["res2", "res3", "res4", "res5"])
@torch.no_grad()
def test_a_map_reaches_its_own_scale_and_the_finer_ones(
    changed: str, specs: dict[str, FeatureSpec], pyramid: Pyramid
) -> None:
    encoder, features = FPNEncoder(specs, dim=64), pyramid(1)
    before, after = (
        encoder(features),
        encoder({**features, changed: features[changed] + torch.randn(features[changed].shape)}),
    )
    same = [torch.equal(a, b) for a, b in zip(before.multi_scale, after.multi_scale, strict=True)]
    coarser = ["res5", "res4", "res3", "res2"].index(changed)
    assert same == [i < coarser for i in range(3)]
    assert not torch.equal(before.mask_features, after.mask_features)


@torch.no_grad()
def test_the_way_down_is_nearest_neighbour(specs: dict[str, FeatureSpec], pyramid: Pyramid) -> None:
    encoder, features = FPNEncoder(specs, dim=64), pyramid(1)
    for adapter in (encoder.adapter_2, encoder.adapter_3):
        adapter.weight.zero_()  # the norm of zeros is zero: only the coarser map is left
    stride32, stride16, stride8 = encoder(features).multi_scale
    for layer, coarse, fine in ((encoder.layer_3, stride32, stride16), (encoder.layer_2, stride16, stride8)):
        repeated = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        assert torch.equal(layer(repeated), fine)


@torch.no_grad()
def test_mask_features_come_from_a_three_by_three_convolution(specs: dict[str, FeatureSpec]) -> None:
    assert FPNEncoder(specs, dim=64, mask_dim=32).mask_features.weight.shape == (32, 64, 3, 3)

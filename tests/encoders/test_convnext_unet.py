"""MaskConver's ConvNeXt-UNet: where its blocks stand, what a block is, and what the paper prints of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import FeatureSpec, SettingError
from effbench.encoders.convnext_unet import ConvNeXtBlock
from effbench.encoders.registry import build_encoder

Pyramid = Callable[..., dict[str, Tensor]]
R50 = {f"res{i + 2}": (256 * 2**i, 4 * 2**i) for i in range(4)}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_squeeze_excite_adds_the_six_million_parameters_in_print() -> None:
    with torch.device("meta"):
        full, plain = (build_encoder("convnext_unet", R50, squeeze_excite=on) for on in (True, False))
    assert parameters(full) - parameters(plain) == pytest.approx(6e6, rel=0.02)


def test_the_blocks_stand_on_the_coarsest_map_first(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    encoder = build_encoder("convnext_unet", specs, n=(3, 2, 1), d=(96, 64, 32), dim=64)
    seen: list[tuple[int, ...]] = []
    for module in encoder.modules():
        if isinstance(module, ConvNeXtBlock):
            module.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape[1:])))
    encoder(pyramid(1, (64, 96)))
    assert seen == 3 * [(96, 2, 3)] + 2 * [(64, 4, 6)] + [(32, 8, 12)]


@torch.no_grad()
def test_a_block_is_what_the_paper_draws() -> None:
    block = ConvNeXtBlock(8, squeeze_excite=True)
    nn.init.normal_(block.scale.gamma)
    x = torch.randn(2, 8, 9, 7)
    y = nn.functional.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=8)
    y = nn.functional.layer_norm(y.permute(0, 2, 3, 1), (8,), block.norm.weight, block.norm.bias, 1e-6)
    wide = nn.functional.gelu(nn.functional.linear(y, block.expand.weight[:, :, 0, 0], block.expand.bias))
    assert wide.shape[-1] == 32
    squeeze = block.squeeze_excite
    assert squeeze.fc1.out_channels == 2, "a sixteenth of the expanded width"
    pooled = wide.mean((1, 2))
    hidden = nn.functional.linear(pooled, squeeze.fc1.weight[:, :, 0, 0], squeeze.fc1.bias).relu()
    gate = nn.functional.linear(hidden, squeeze.fc2.weight[:, :, 0, 0], squeeze.fc2.bias).sigmoid()
    back = nn.functional.linear(wide * gate[:, None, None], block.project.weight[:, :, 0, 0], block.project.bias)
    expected = x + (back * block.scale.gamma).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_coarse_maps_enter_the_finer_ones(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    encoder = build_encoder("convnext_unet", specs, n=(1, 0, 0), d=(32, 32, 32), dim=64).eval()
    maps = pyramid(1)
    changed = encoder({**maps, "res5": maps["res5"] + 1}).multi_scale
    for before, after in zip(encoder(maps).multi_scale, changed, strict=True):
        assert not torch.allclose(before, after)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": (18, 1)}, r"n=\(18, 1\), expected three integers of at least 0, such as n=\(3,3,3\)"),
        ({"d": (384, 384, 0)}, r"d=\(384, 384, 0\), expected three integers of at least 1"),
        ({"d": 384}, "d=384, expected three integers"),
        ({"squeeze_excite": "yes"}, "squeeze_excite='yes', expected True or False"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str, specs: Mapping[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match=message):
        build_encoder("convnext_unet", specs, **settings)

"""timm models as four named maps. No test downloads weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from effbench.encoders.contract import LEVELS
from effbench.errors import InputError
from effbench.models.backbones import PRESETS, build_backbone, preset

TINY_SWIN = {"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "settings", "channels"),
    [
        ("resnet_mini", {}, (32, 48, 96, 128)),
        ("resnet18", {"channels": (8, 16, 24, 32), "layers": (1, 1, 1, 1)}, (8, 16, 24, 32)),
        ("swin_t", TINY_SWIN, (24, 48, 96, 192)),
        ("mobilenetv3_small_100", {}, (16, 24, 48, 576)),
        ("convnext_atto", {"depths": (1, 1, 1, 1)}, (40, 80, 160, 320)),
    ],
)
@torch.no_grad()
def test_four_maps_channels_first(name: str, settings: dict[str, Any], channels: tuple[int, ...]) -> None:
    backbone = build_backbone(name, **settings).eval()
    assert backbone.features == {level: (c, LEVELS[level]) for level, c in zip(LEVELS, channels, strict=True)}
    maps = backbone(torch.randn(2, 3, 64, 96))
    assert {level: tuple(x.shape) for level, x in maps.items()} == {
        level: (2, c, 64 // LEVELS[level], 96 // LEVELS[level]) for level, c in zip(LEVELS, channels, strict=True)
    }


@pytest.mark.parametrize("name", ["r50", "swin_t"])
def test_presets_have_the_papers_channels(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name)
    width = {"r50": 256, "swin_t": 96}[name]
    assert [spec.channels for spec in backbone.features.values()] == [width, 2 * width, 4 * width, 8 * width]


@torch.no_grad()
def test_swin_has_a_norm_for_each_map_it_returns() -> None:
    """Mask2Former's Swin normalises the channels of every output stage; timm's pyramid does not."""
    backbone = build_backbone("swin_t", **TINY_SWIN).eval()
    assert [tuple(norm.normalized_shape) for norm in backbone.norms.values()] == [(24,), (48,), (96,), (192,)]
    for x in backbone(torch.randn(1, 3, 64, 96)).values():
        torch.testing.assert_close(x.mean(1), torch.zeros_like(x[:, 0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(x.var(1, unbiased=False), torch.ones_like(x[:, 0]), rtol=0, atol=1e-2)


def test_convolutional_backbones_get_no_norm() -> None:
    assert not any(name.startswith("norms") for name, _ in build_backbone("resnet_mini").named_parameters())


@torch.no_grad()
def test_swin_takes_any_size_that_the_stride_divides() -> None:
    backbone = build_backbone("swin_t", **TINY_SWIN).eval()
    for size in ((32, 32), (160, 96)):
        assert backbone(torch.randn(1, 3, *size))["res5"].shape[2:] == (size[0] // 32, size[1] // 32)


def test_queries_of_the_papers() -> None:
    assert PRESETS["swin_l"].queries == 200
    assert {p.queries for name, p in PRESETS.items() if name != "swin_l"} == {100}
    assert preset("convnext_atto").queries == 100


def test_a_backbone_without_the_strides_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"maps at strides \[16\], expected \[4, 8, 16, 32\]; choose one with four stages"
    ):
        build_backbone("vit_tiny_patch16_224", depth=3, embed_dim=24, num_heads=2)


def test_unknown_backbone_names_near_ones_and_the_presets() -> None:
    with pytest.raises(InputError) as raised:
        build_backbone("convnext_att")
    assert "'convnext_att'; did you mean convnext_atto" in str(raised.value)
    assert ", ".join(PRESETS) in str(raised.value)


def test_settings_that_timm_refuses_are_named() -> None:
    with pytest.raises(InputError, match=r"timm cannot build 'resnet18' with .*'nonsense': 1"):
        build_backbone("resnet_mini", nonsense=1)

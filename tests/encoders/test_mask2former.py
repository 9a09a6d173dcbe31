"""Mask2Former's pixel decoder: the released one's names, numbers and size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.encoders.contract import FeatureSpec, SettingError
from effbench.encoders.registry import build_encoder

Pyramid = Callable[..., dict[str, Tensor]]


@torch.no_grad()
def test_agrees_with_the_released_module(released: ModuleType) -> None:
    theirs = released.load("m2f_pixel_decoder_6layers")
    features = {f"res{i + 2}": (c, 4 * 2**i) for i, c in enumerate(theirs.config["in_channels"])}
    encoder = build_encoder("mask2former", features, dim=theirs.config["conv_dim"], mask_dim=theirs.config["mask_dim"])
    assert released.shapes_of(encoder) == theirs.parameters
    released.set_weights(encoder)
    output = encoder({name: released.draw(f"input.{name}", shape) for name, shape in theirs.inputs.items()})
    torch.testing.assert_close(output.mask_features[:1], theirs.outputs["mask_features"], rtol=0, atol=1e-5)
    for i, x in enumerate(output.multi_scale):
        torch.testing.assert_close(x, theirs.outputs[f"multi_scale.{i}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "parameters"),
    [((256, 512, 1024, 2048), 6_035_904), ((96, 192, 384, 768), 5_421_504)],
    ids=["r50", "swin_t"],
)
def test_parameters_of_the_released_module(channels: tuple[int, ...], parameters: int) -> None:
    with torch.device("meta"):
        encoder = build_encoder("mask2former", {f"res{i + 2}": (c, 4 * 2**i) for i, c in enumerate(channels)})
    assert sum(p.numel() for p in encoder.parameters()) == parameters


def test_without_res2_the_masks_come_from_stride_8(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    small = {"dim": 64, "mask_dim": 32, "heads": 4, "ffn_dim": 64, "layers": 1, "embedding": "none"}
    encoder, whole = (
        build_encoder("mask2former", specs, res2=False, **small),
        build_encoder("mask2former", specs, **small),
    )
    assert {name.split(".")[0] for name in whole.state_dict().keys() - encoder.state_dict().keys()} == {
        "adapter_1",
        "layer_1",
    }
    maps = pyramid()
    output = encoder(maps)
    blind = encoder({**maps, "res2": torch.zeros_like(maps["res2"])})
    assert torch.equal(output.mask_features, blind.mask_features)
    at_stride8 = encoder.mask_features(output.multi_scale[2])
    expected = F.interpolate(at_stride8, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(output.mask_features, expected)


def test_without_res2_there_is_nothing_to_embed(specs: Mapping[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match="embedding='conv', expected none: res2=False leaves no map at stride 4"):
        build_encoder("mask2former", specs, res2=False)

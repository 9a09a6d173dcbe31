"""RT-DETR's encoder: what its positions are, what fusing keeps, and the parameter count of the released parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import FeatureSpec, SettingError
from effbench.encoders.registry import build_encoder
from effbench.encoders.rt import fuse, sincos_position

Pyramid = Callable[..., dict[str, Tensor]]
NARROW = {"dim": 64, "mask_dim": 32, "heads": 4, "ffn_dim": 64}
CPU = torch.device("cpu")


def with_moved_norms(encoder: nn.Module) -> nn.Module:
    """Fusing a norm that changes nothing would prove nothing."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var):
                nn.init.uniform_(values, 0.5, 2.0)  # type: ignore[arg-type]
            for values in (module.bias.data, module.running_mean):
                nn.init.normal_(values)  # type: ignore[arg-type]
    return encoder


@torch.no_grad()
def test_fused_blocks_give_the_same_and_are_those_of_the_fused_setting(
    specs: Mapping[str, FeatureSpec], pyramid: Pyramid
) -> None:
    trained = with_moved_norms(build_encoder("rt", specs, **NARROW)).eval()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    deployed = build_encoder("rt", specs, fused=True, **NARROW).eval()
    deployed.load_state_dict(fuse(trained).state_dict())
    maps = pyramid()
    ours, theirs = trained(maps), deployed(maps)
    torch.testing.assert_close(ours.mask_features, theirs.mask_features, rtol=1e-4, atol=1e-4)
    for a, b in zip(ours.multi_scale, theirs.multi_scale, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items()), "it is a copy"
    again = fuse(deployed)
    assert again.state_dict().keys() == deployed.state_dict().keys()


def test_positions_are_sine_and_cosine_of_x_then_of_y() -> None:
    position = sincos_position(2, 3, 8, CPU, "aligned")
    x, y = 2, 1
    expected = torch.tensor([x, x / 100, x, x / 100, y, y / 100, y, y / 100], dtype=torch.float32)
    expected = torch.cat((expected[:2].sin(), expected[2:4].cos(), expected[4:6].sin(), expected[6:].cos()))
    torch.testing.assert_close(position[y * 3 + x], expected)


def test_the_release_gives_tokens_the_positions_of_the_transposed_map() -> None:
    height, width, dim = 3, 5, 16
    aligned = sincos_position(height, width, dim, CPU, "aligned").view(height, width, dim)
    released = sincos_position(height, width, dim, CPU, "released")
    torch.testing.assert_close(released, aligned.transpose(0, 1).flatten(0, 1))
    assert not torch.equal(released, aligned.flatten(0, 1))


def test_coarse_context_reaches_the_fine_map(specs: Mapping[str, FeatureSpec], pyramid: Pyramid) -> None:
    encoder = build_encoder("rt", specs, **NARROW).eval()
    maps = pyramid(1, (128, 128))
    moved = {**maps, "res5": maps["res5"].clone()}
    moved["res5"][..., 0, 0] += 3  # far from the last pixel for every convolution, near for the attention
    before, after = encoder(maps), encoder(moved)
    assert not torch.allclose(before.multi_scale[2][..., -1, -1], after.multi_scale[2][..., -1, -1], atol=1e-7)


def test_parameters_are_those_of_the_released_encoder() -> None:
    """Counted from RT-DETR-R50's configuration: attention, projections, and four blocks of two 1x1 and three RepVGG."""
    specs = {f"res{i + 2}": (256 * 2**i, 4 * 2**i) for i in range(4)}
    encoder = build_encoder("rt", specs)
    released = ("input_proj", "encoder", "lateral_convs", "fpn_blocks", "downsample_convs", "pan_blocks")
    attention = 4 * 256 * 257 + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
    projections = (512 + 1024 + 2048) * 256 + 3 * 512
    block = 2 * (512 * 256 + 512) + 3 * ((9 + 1) * 256 * 256 + 2 * 512)
    ccfm = 4 * block + 2 * (256 * 256 + 512) + 2 * (9 * 256 * 256 + 512)
    found = sum(p.numel() for name, p in encoder.named_parameters() if name.startswith(released))
    assert found == attention + projections + ccfm


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, "dim=64 is not divisible by heads=3"),
        ({"fused": 1}, "fused=1, expected True or False"),
        ({"position": "sine"}, "position='sine', expected one of released, aligned"),
        ({"ffn_dim": 0}, "ffn_dim=0, expected an integer of at least 1"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str, specs: Mapping[str, FeatureSpec]) -> None:
    with pytest.raises(SettingError, match=message):
        build_encoder("rt", specs, **{**NARROW, **settings})

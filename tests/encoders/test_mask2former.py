"""Mask2Former's pixel decoder: the released one's names, numbers and size."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from effbench.encoders.registry import build_encoder


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

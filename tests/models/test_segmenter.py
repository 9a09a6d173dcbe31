"""The three parts as one model: padding, normalisation, and what cannot be built."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import effbench
from effbench.encoders.contract import SettingError
from effbench.errors import InputError
from effbench.models.segmenter import IMAGENET_MEAN, IMAGENET_STD, Segmenter, build_segmenter

SMALL: dict[str, Any] = {"num_classes": 5, "num_queries": 6, "dim": 64, "mask_dim": 32}
DECODER = {"layers": 3, "dim": 32, "heads": 4, "ffn_dim": 32}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return build_segmenter("fpn", "resnet_mini", decoder_settings=DECODER, **SMALL).eval()


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((64, 96), (64, 96)),
        ((70, 101), (96, 128)),
        ((33, 65), (64, 96)),
        ((1, 1), (32, 32)),
        ((32, 33), (32, 64)),
    ],
)
@torch.no_grad()
def test_images_of_any_size(size: tuple[int, int], padded: tuple[int, int], segmenter: Segmenter) -> None:
    output = segmenter(torch.rand(2, 3, *size))
    assert output.padded_size == padded
    assert [(p.logits.shape, p.masks.shape) for p in output.predictions] == [
        ((2, 6, 6), (2, 6, padded[0] // 4, padded[1] // 4))
    ] * 4
    assert output.encoded.mask_features.shape == (2, 32, padded[0] // 4, padded[1] // 4)
    assert all(p.logits.isfinite().all() and p.masks.isfinite().all() for p in output.predictions)


def test_images_are_normalised_and_then_padded_with_zeros_right_and_below(segmenter: Segmenter) -> None:
    image = torch.rand(1, 3, 33, 30)
    prepared = segmenter.prepare(image)
    assert prepared.shape == (1, 3, 64, 32)
    for channel in range(3):
        expected = (image[0, channel] - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        torch.testing.assert_close(prepared[0, channel, :33, :30], expected)
    assert not prepared[:, :, 33:].any() and not prepared[:, :, :, 30:].any()


@torch.no_grad()
def test_padding_by_hand_changes_nothing(segmenter: Segmenter) -> None:
    image = torch.rand(1, 3, 33, 65)
    mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1).expand(3, 64, 96).clone()
    mean[:, :33, :65] = image[0]  # the mean colour is what zero is after normalisation
    by_hand, padded = segmenter(mean[None]).predictions[-1], segmenter(image).predictions[-1]
    torch.testing.assert_close(padded.masks, by_hand.masks, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_image_alone_and_in_a_batch(segmenter: Segmenter) -> None:
    images = torch.rand(2, 3, 40, 70)
    together = segmenter(images).predictions[-1]
    for i in range(2):
        alone = segmenter(images[i : i + 1]).predictions[-1]
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=1e-4, atol=1e-4)


def test_statistics_of_the_images_are_no_part_of_a_checkpoint(segmenter: Segmenter) -> None:
    parts = {key.split(".")[0] for key in segmenter.state_dict()}
    assert parts == {"backbone", "encoder", "decoder"}


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        ("mask2former", {"layers": 1, "heads": 4, "ffn_dim": 64}),
        ("proscale", {"p": (1, 1, 1), "heads": 4, "ffn_dim": 64}),
    ],
)
def test_one_step_of_training_gives_every_part_gradients(encoder: str, settings: dict[str, Any]) -> None:
    model = build_segmenter(encoder, "resnet_mini", decoder_settings=DECODER, **SMALL, **settings)
    predictions = model(torch.rand(2, 3, 64, 96)).predictions
    sum(p.logits.square().mean() + p.masks.square().mean() for p in predictions).backward()
    for part in (model.backbone, model.encoder, model.decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
        assert any(p.grad.any() for p in part.parameters() if p.grad is not None)


def test_the_top_of_the_package_offers_the_builder() -> None:
    assert effbench.build_segmenter is build_segmenter


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (
            ("fpn", "resnet_mini", "maskformer"),
            InputError,
            "no decoder is called 'maskformer'; expected one of mask2former",
        ),
        (
            ("fpn", "convnext_att"),
            InputError,
            "no backbone is called 'convnext_att'; did you mean convnext_atto",
        ),
        (("proscal", "resnet_mini"), SettingError, "no encoder is called 'proscal'; did you mean proscale"),
    ],
)
def test_unknown_parts(arguments: tuple[str, ...], error: type[ValueError], said: str) -> None:
    with pytest.raises(error) as raised:
        build_segmenter(*arguments)
    assert said in str(raised.value)


def test_settings_reach_their_parts() -> None:
    model = build_segmenter(
        "fpn",
        "resnet_mini",
        backbone_settings={"channels": (8, 16, 24, 32)},
        decoder_settings={**DECODER, "layers": 1},
        **SMALL,
    )
    assert [spec.channels for spec in model.backbone.features.values()] == [8, 16, 24, 32]
    assert len(model.decoder.transformer_ffn_layers) == 1
    assert model.encoder.mask_dim == 32
    with pytest.raises(SettingError, match="fpn has no setting 'layers'"):
        build_segmenter("fpn", "resnet_mini", layers=3)

"""The transformer decoder: the released one's numbers, and where its queries look."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from effbench.encoders.contract import EncoderOutput, SettingError
from effbench.models.mask2former_decoder import Mask2FormerDecoder

SIZES = ((2, 4), (4, 8), (8, 16))  # of the three scales; masks are 16 x 32


def small(layers: int = 3) -> Mask2FormerDecoder:
    return Mask2FormerDecoder(32, 16, num_classes=5, num_queries=6, layers=layers, dim=32, heads=4, ffn_dim=32).eval()


def encoded(mask_features: Tensor) -> EncoderOutput:
    return EncoderOutput(mask_features, tuple(torch.randn(len(mask_features), 32, *size) for size in SIZES))


def fix_masks(decoder: Mask2FormerDecoder, sign: float) -> None:
    """Every query's mask logits are `sign` times the sum over the mask features' channels."""
    last = decoder.mask_embed.layers[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(sign)


@torch.no_grad()
def test_agrees_with_the_released_module(released: ModuleType) -> None:
    theirs = released.load("m2f_transformer_decoder_3layers")
    config = theirs.config
    decoder = Mask2FormerDecoder(
        config["in_channels"],
        config["mask_dim"],
        config["num_classes"],
        config["num_queries"],
        layers=config["dec_layers"],
        dim=config["hidden_dim"],
        heads=config["nheads"],
        ffn_dim=config["dim_feedforward"],
    )
    assert released.shapes_of(decoder) == theirs.parameters
    released.set_weights(decoder)
    maps = tuple(released.draw(f"dec.x{i}", theirs.inputs[f"x.{i}"]) for i in range(3))
    mask_features = released.draw("dec.mask_features", theirs.inputs["mask_features"], std=0.4)
    predictions = decoder(EncoderOutput(mask_features, maps))
    assert len(predictions) == config["dec_layers"] + 1
    for i, prediction in enumerate(predictions):
        masks = theirs.outputs[f"masks.{i}"]
        torch.testing.assert_close(prediction.logits, theirs.outputs[f"logits.{i}"], rtol=0, atol=1e-5)
        torch.testing.assert_close(prediction.masks[: len(masks)], masks, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("classes", "parameters"), [(19, 14_463_764), (133, 14_493_062)])
def test_parameters_of_the_released_module(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        decoder = Mask2FormerDecoder(256, 256, classes)
    assert sum(p.numel() for p in decoder.parameters()) == parameters


@torch.no_grad()
def test_shapes_of_every_prediction() -> None:
    predictions = small()(encoded(torch.randn(2, 16, 16, 32)))
    assert [(p.logits.shape, p.masks.shape) for p in predictions] == [((2, 6, 6), (2, 6, 16, 32))] * 4


@torch.no_grad()
def test_a_query_that_may_look_nowhere_looks_everywhere() -> None:
    decoder, features = small(), encoded(torch.ones(1, 16, 16, 32))
    answers = []
    for sign in (-1.0, 1.0):  # every pixel blocked, no pixel blocked
        fix_masks(decoder, sign)
        prediction = decoder(features)[-1]
        assert (prediction.masks * sign > 0).all()
        answers.append(prediction.logits)
    assert answers[0].isfinite().all()
    torch.testing.assert_close(answers[0], answers[1], rtol=0, atol=1e-6)


@torch.no_grad()
def test_queries_look_only_inside_their_masks() -> None:
    decoder, halves = small(), torch.ones(1, 16, 16, 32)
    halves[..., 16:] = -1  # the right half is outside every mask
    fix_masks(decoder, 1.0)
    features = encoded(halves)
    before = decoder(features)[-1].logits
    for side, same in ((slice(-1, None), True), (slice(0, 1), False)):
        changed = tuple(x.clone() for x in features.multi_scale)
        for x in changed:
            x[..., side] += 3 * torch.randn_like(x[..., side])
        after = decoder(EncoderOutput(halves, changed))[-1].logits
        assert torch.allclose(after, before, rtol=0, atol=1e-6) == same


@torch.no_grad()
def test_layers_visit_the_scales_coarse_to_fine_and_start_again() -> None:
    decoder, features = small(layers=5), encoded(torch.randn(1, 16, 16, 32))
    seen: list[int] = []
    for layer in decoder.transformer_cross_attention_layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].shape[1]))
    decoder(features)
    assert seen == [8, 32, 128, 8, 32]


@torch.no_grad()
def test_an_image_alone_and_in_a_batch() -> None:
    decoder, features = small(), encoded(torch.randn(2, 16, 16, 32))
    together = decoder(features)[-1]
    for i in range(2):
        alone = decoder(EncoderOutput(features.mask_features[[i]], tuple(x[[i]] for x in features.multi_scale)))[-1]
        torch.testing.assert_close(alone.logits[0], together.logits[i], rtol=0, atol=1e-5)
        torch.testing.assert_close(alone.masks[0], together.masks[i], rtol=0, atol=1e-5)


def test_gradients_reach_every_parameter() -> None:
    decoder = small()
    predictions = decoder(encoded(torch.randn(2, 16, 16, 32)))
    sum(
        (p.logits * torch.randn_like(p.logits)).sum() + (p.masks * torch.randn_like(p.masks)).sum() for p in predictions
    ).backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_wider_encoder_is_projected() -> None:
    decoder = Mask2FormerDecoder(48, 16, 5, 6, layers=3, dim=32, heads=4, ffn_dim=32)
    maps = tuple(torch.randn(1, 48, *size) for size in SIZES)
    assert decoder(EncoderOutput(torch.randn(1, 16, 16, 32), maps))[-1].logits.shape == (1, 6, 6)
    assert {name for name, _ in decoder.named_parameters() if name.startswith("input_proj")} == {
        f"input_proj.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")
    }


def test_width_and_heads_must_fit() -> None:
    with pytest.raises(SettingError, match="dim=30 is not divisible by heads=4; expected a multiple"):
        Mask2FormerDecoder(32, 16, 5, dim=30, heads=4)

"""A second opinion: the same weights in transformers' Mask2Former give what our encoder and decoder give.

The fixtures hold the released modules to a few inputs; this is the other well-known implementation of both, built and
run here, with both kinds of decoder input. Its backbone is replaced by the maps themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from effbench.encoders.contract import EncoderOutput, FeatureSpec
from effbench.encoders.mask2former import Mask2FormerEncoder
from effbench.models.mask2former_decoder import Mask2FormerDecoder, Prediction
from effbench.peers import mask2former

BATCH, HEIGHT, WIDTH = 2, 64, 96
DIM, MASK_DIM, HEADS, FFN, ENCODER_LAYERS, DECODER_LAYERS, CLASSES, QUERIES = 64, 48, 4, 80, 3, 4, 7, 9
FEATURES = {f"res{i + 2}": FeatureSpec(16 * 2**i, 4 * 2**i) for i in range(4)}


class Ours(nn.Module):
    def __init__(self, decoder_dim: int) -> None:
        super().__init__()
        self.encoder = Mask2FormerEncoder(
            FEATURES, layers=ENCODER_LAYERS, dim=DIM, mask_dim=MASK_DIM, heads=HEADS, ffn_dim=FFN
        )
        self.decoder = Mask2FormerDecoder(
            DIM, MASK_DIM, CLASSES, QUERIES, DECODER_LAYERS, dim=decoder_dim, heads=HEADS, ffn_dim=FFN
        )


class Maps(nn.Module):
    """Stands for the backbone of transformers' model and holds no weights."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Any:
        return SimpleNamespace(feature_maps=self.maps)


def peer(decoder_dim: int, maps: Sequence[Tensor]) -> nn.Module:
    """transformers' model from a configuration alone: nothing is downloaded."""
    transformers = pytest.importorskip("transformers", reason="transformers, a peer to compare with, is not installed")
    stages = [f"stage{i}" for i in range(1, 5)]
    swin = transformers.SwinConfig(embed_dim=16, depths=[1] * 4, num_heads=[1] * 4, window_size=2, out_features=stages)
    config = transformers.Mask2FormerConfig(
        backbone_config=swin,
        feature_size=DIM,
        mask_feature_size=MASK_DIM,
        hidden_dim=decoder_dim,
        num_attention_heads=HEADS,
        encoder_layers=ENCODER_LAYERS,
        encoder_feedforward_dim=FFN,
        decoder_layers=DECODER_LAYERS + 1,  # it counts the prediction before the first layer
        dim_feedforward=FFN,
        num_queries=QUERIES,
        num_labels=CLASSES,
        output_auxiliary_logits=True,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    model.model.pixel_level_module.encoder = Maps(maps)
    return model.double().eval()


# --- whose weight is whose --------------------------------------------------------------------------------------------

Theirs = str | tuple[str, str, str]


def counterparts(projected: bool) -> dict[str, Theirs]:
    """Our modules that own weights -> theirs; three of theirs where ours has query, key and value in one matrix."""
    encoder = mask2former.counterparts(ENCODER_LAYERS)
    decoder: dict[str, Theirs] = {
        "query_feat": "queries_features",
        "query_embed": "queries_embedder",
        "level_embed": "level_embed",
        "decoder_norm": "decoder.layernorm",
        **{f"mask_embed.layers.{i}": f"decoder.mask_predictor.mask_embedder.{i}.0" for i in range(3)},
        **({f"input_proj.{i}": f"input_projections.{i}" for i in range(3)} if projected else {}),
    }
    for i in range(DECODER_LAYERS):
        theirs = f"decoder.layers.{i}"
        cross, itself, ffn = (f"transformer_{kind}_layers.{i}" for kind in ("cross_attention", "self_attention", "ffn"))
        decoder[f"{cross}.multihead_attn"] = f"{theirs}.cross_attn"
        decoder[f"{cross}.multihead_attn.out_proj"] = f"{theirs}.cross_attn.out_proj"
        decoder[f"{cross}.norm"] = f"{theirs}.cross_attn_layer_norm"
        q, k, v = (f"{theirs}.self_attn.{x}_proj" for x in "qkv")
        decoder[f"{itself}.self_attn"] = (q, k, v)
        decoder[f"{itself}.self_attn.out_proj"] = f"{theirs}.self_attn.out_proj"
        decoder[f"{itself}.norm"] = f"{theirs}.self_attn_layer_norm"
        decoder[f"{ffn}.linear1"] = f"{theirs}.fc1"
        decoder[f"{ffn}.linear2"] = f"{theirs}.fc2"
        decoder[f"{ffn}.norm"] = f"{theirs}.final_layer_norm"

    def at(prefix: str, name: Theirs) -> Theirs:
        if isinstance(name, str):
            return f"{prefix}.{name}".rstrip(".")
        q, k, v = (f"{prefix}.{one}" for one in name)
        return q, k, v

    return {
        **{f"encoder.{ours}": at("model.pixel_level_module.decoder", theirs) for ours, theirs in encoder.items()},
        **{f"decoder.{ours}": at("model.transformer_module", theirs) for ours, theirs in decoder.items()},
        "decoder.class_embed": "class_predictor",
    }


def translate(weights: Mapping[str, Tensor], names: Mapping[str, Theirs]) -> dict[str, Tensor]:
    """Our weights under their names; a KeyError names one that has no counterpart."""
    translated = {}
    for name, weight in weights.items():
        owner, _, kind = name.rpartition(".")
        theirs = names[owner]
        if isinstance(theirs, str):
            translated[f"{theirs}.{kind}"] = weight
        else:
            kind = kind.removeprefix("in_proj_")
            translated |= {f"{one}.{kind}": part for one, part in zip(theirs, weight.chunk(3), strict=True)}
    return translated


# --- both on the same maps --------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Both models with the same weights, and what each says about the same maps."""

    names: Mapping[str, Theirs]
    ours: Ours
    theirs: nn.Module
    encoded: EncoderOutput
    predictions: list[Prediction]
    answer: Any


@pytest.fixture(scope="module", params=[DIM, 96], ids=["decoder as wide as the encoder", "wider decoder"])
def pair(request: pytest.FixtureRequest, released: ModuleType) -> Pair:
    maps = {
        name: released.draw(name, (BATCH, channels, HEIGHT // stride, WIDTH // stride))
        for name, (channels, stride) in FEATURES.items()
    }
    ours = Ours(request.param).eval()
    released.set_weights(ours)  # norms, offsets and biases too: nothing stays at an initial value that hides a mix-up
    theirs, names = peer(request.param, list(maps.values())), counterparts(projected=request.param != DIM)
    theirs.load_state_dict(translate(dict(ours.named_parameters()), names), strict=False)  # completeness has a test
    with torch.no_grad():
        encoded = ours.encoder(maps)
        answer = theirs(torch.empty(BATCH, 3, HEIGHT, WIDTH), output_hidden_states=True)
        return Pair(names, ours, theirs, encoded, ours.decoder(encoded), answer)


def test_no_weight_is_left_out_on_either_side(pair: Pair) -> None:
    ours = {name for name, _ in pair.ours.named_parameters()}
    assert {name.rpartition(".")[0] for name in ours} == set(pair.names)
    translated = translate(dict(pair.ours.named_parameters()), pair.names)
    theirs = dict(pair.theirs.named_parameters())
    assert translated.keys() == theirs.keys()
    assert all(torch.equal(translated[name], weight) for name, weight in theirs.items())
    assert sum(w.numel() for w in theirs.values()) == sum(w.numel() for w in pair.ours.parameters())


def test_the_encoders_agree(pair: Pair) -> None:
    theirs = (pair.answer.pixel_decoder_last_hidden_state, *pair.answer.pixel_decoder_hidden_states)
    ours = (pair.encoded.mask_features, *pair.encoded.multi_scale)
    assert [x.shape for x in ours] == [(BATCH, MASK_DIM, 16, 24), *((BATCH, DIM, 2 * n, 3 * n) for n in (1, 2, 4))]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


def test_the_decoders_agree_in_every_prediction(pair: Pair) -> None:
    theirs = [(x["class_queries_logits"], x["masks_queries_logits"]) for x in pair.answer.auxiliary_logits]
    theirs.append((pair.answer.class_queries_logits, pair.answer.masks_queries_logits))
    assert len(theirs) == DECODER_LAYERS + 1
    for prediction, (logits, masks) in zip(pair.predictions, theirs, strict=True):
        torch.testing.assert_close(prediction.logits, logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(prediction.masks, masks, rtol=0, atol=1e-4)


def test_the_comparison_is_not_one_of_trivial_numbers(pair: Pair) -> None:
    """Masks that block some places and not others, and predictions that change from layer to layer."""
    for prediction in pair.predictions:
        assert 0.01 < (prediction.masks < 0).double().mean() < 0.99
    for before, after in zip(pair.predictions, pair.predictions[1:], strict=False):
        assert (before.masks - after.masks).abs().max() > 0.1
        assert (before.logits - after.logits).abs().max() > 0.1

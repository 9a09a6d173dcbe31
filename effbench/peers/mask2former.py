"""Mask2Former's encoder as transformers has it, with its own deformable operator or with a peer's in its place.

With the CUDA operator of Deformable DETR in it, it takes the steps of Mask2Former's release one by one: positions and
reference points anew for every image, a mask of padding, locations and softmax by PyTorch, float32 throughout.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from effbench.encoders.contract import LEVELS, EncoderOutput, Features
from effbench.peers.contract import Op

PACKAGE = "transformers"


def absent() -> str | None:
    """Why this machine does not have it, or None."""
    return None if importlib.util.find_spec(PACKAGE) else f"{PACKAGE} is not installed"


class TheirEncoder(nn.Module):
    """transformers' Mask2FormerPixelDecoder behind our encoders' interface, eager and for inference."""

    def __init__(self, decoder: nn.Module, op: Op | None) -> None:
        super().__init__()
        self.decoder, self.op = decoder, op

    def forward(self, features: Mapping[str, Tensor]) -> EncoderOutput:
        """`features`: name -> (B, C, H/s, W/s)."""
        with _operator(self.op):
            found = self.decoder([features[name] for name in LEVELS])
        coarse, middle, fine = found.multi_scale_features
        return EncoderOutput(found.mask_features, (coarse, middle, fine))


def their_encoder(
    weights: Mapping[str, Tensor], features: Features, settings: Mapping[str, Any], op: Op | None = None
) -> TheirEncoder:
    """An encoder with our `weights` (of a `mask2former` of `settings`, in its names), in their dtype and place.

    `op` takes the place of theirs. Raises KeyError for a weight that has no counterpart, RuntimeError for one that is
    missing.
    """
    import transformers
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

    stages = [f"stage{i}" for i in range(1, 5)]
    unused = {"model_type": "swin", "out_features": stages}
    config = transformers.Mask2FormerConfig(
        backbone_config=unused,  # it wants one
        feature_size=settings["dim"],
        mask_feature_size=settings["mask_dim"],
        num_attention_heads=settings["heads"],
        encoder_layers=settings["layers"],
        encoder_feedforward_dim=settings["ffn_dim"],
    )
    like = next(iter(weights.values()))
    with torch.device(like.device):
        decoder = Mask2FormerPixelDecoder(config, [features[name].channels for name in LEVELS]).to(like.dtype)
    decoder.load_state_dict(translated(weights, counterparts(settings["layers"])))
    return TheirEncoder(decoder, op).eval().requires_grad_(False)


def counterparts(layers: int) -> dict[str, str]:
    """Our modules that own weights -> theirs."""
    names = {
        "transformer": "",  # level_embed
        "mask_features": "mask_projection",
        "adapter_1": "adapter_1.0",
        "adapter_1.norm": "adapter_1.1",
        "layer_1": "layer_1.0",
        "layer_1.norm": "layer_1.1",
        **{f"input_proj.{i}.{j}": f"input_projections.{i}.{j}" for i in range(3) for j in range(2)},
    }
    for i in range(layers):
        ours, theirs = f"transformer.encoder.layers.{i}", f"encoder.layers.{i}"
        for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            names[f"{ours}.self_attn.{name}"] = f"{theirs}.self_attn.{name}"
        names[f"{ours}.norm1"] = f"{theirs}.self_attn_layer_norm"
        names[f"{ours}.linear1"] = f"{theirs}.fc1"
        names[f"{ours}.linear2"] = f"{theirs}.fc2"
        names[f"{ours}.norm2"] = f"{theirs}.final_layer_norm"
    return names


def translated(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our weights under their names; a KeyError names one that has no counterpart."""
    owners = {name: name.rpartition(".") for name in weights}
    return {f"{names[owner]}.{kind}".lstrip("."): weights[name] for name, (owner, _, kind) in owners.items()}


@contextmanager
def _operator(op: Op | None) -> Iterator[None]:
    """Inside, their layers call `op` instead of their own; it is a function of their module, called by its name."""
    from transformers.models.mask2former import modeling_mask2former as module

    if op is None:
        yield
        return
    before = module.multi_scale_deformable_attention
    module.multi_scale_deformable_attention = op  # type: ignore[assignment]
    try:
        yield
    finally:
        module.multi_scale_deformable_attention = before

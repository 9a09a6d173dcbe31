"""The pure PyTorch of transformers, which its Deformable DETR and Mask2Former run where no kernel is installed."""

from __future__ import annotations

from torch import Tensor

from effbench.peers.contract import Implementation, Peer, Shapes, table
from effbench.peers.mask2former import absent


def peers() -> dict[str, Peer]:
    """`transformers`, of the version that is installed."""
    return {"transformers": Peer(_load, absent=absent, package="transformers")}


def _load() -> Implementation:
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    module = MultiScaleDeformableAttention()

    def op(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        sizes, starts = table(tuple(shapes), value.device)
        # grid_sample takes one dtype, and these models convert all they have to the value's
        return module(value, sizes, list(shapes), starts, locations.to(value.dtype), weights.to(value.dtype), 64)

    return Implementation(op)

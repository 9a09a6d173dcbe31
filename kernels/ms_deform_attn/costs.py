"""What the operator costs, as formulas: one place for the FLOP counters of PyTorch and for our own tables.

The papers' GFLOPs count this operator as zero, because their tool does not know it; these formulas are what
that leaves out. A sample is one (query, head, level, point).
"""

from __future__ import annotations

from collections.abc import Sequence


def forward_macs(locations_shape: Sequence[int], head_dim: int) -> int:
    """Multiply-accumulates of the forward: 4 corners and 1 attention weight per sample and channel.

    `locations_shape` is (B, Q, M, L, P, 2), or that of the offsets. The softmax of the fused operator is not counted,
    as it is not where it stands alone.
    """
    B, Q, M, L, P, _ = locations_shape
    return 5 * B * Q * M * L * P * head_dim


def backward_macs(locations_shape: Sequence[int], head_dim: int) -> int:
    """Multiply-accumulates of the backward, three products of the forward's size.

    Per sample and channel: gather again and dot with the gradient (weights), two differences of corners dotted
    with it (locations), weight it and scatter to 4 corners (value).
    """
    return 3 * forward_macs(locations_shape, head_dim)

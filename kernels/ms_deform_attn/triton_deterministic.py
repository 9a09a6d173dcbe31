"""The gradient of value without atomics, for `torch.use_deterministic_algorithms(True)`.

The kernel's atomics add in the order in which programs happen to run, so its last bits differ from run to run.
Here PyTorch sorts the additions by pixel first, which is bitwise reproducible. The price: per level, 4 sorts of
B*Q*M*P keys, and a temporary tensor of B*Q*M*P*D float32 numbers that is written and read back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Shapes = Sequence[tuple[int, int]]


def grad_value(
    grad: Tensor, value: Tensor, shapes: Shapes, points: Tensor, scores: Tensor, reference: Tensor | None
) -> Tensor:
    """The gradient (B, S, M, D) of value, in float32.

    grad is (B, Q, M*D). Without reference, points are locations in [0, 1] and scores weights; with reference
    (1 or B, Q, 1 or L, 2), points are offsets from it in pixels and scores logits.
    """
    B, S, M, D = value.shape
    upstream = grad.float().view(B, -1, M, 1, D)
    weights = scores.float()
    if reference is not None:
        weights = weights.flatten(3).softmax(-1).view(scores.shape)
    rows = torch.arange(B * M, device=value.device).view(B, 1, M, 1)
    rows = rows // M * (S * M) + rows % M  # of the first token, in a table (B*S*M, D)
    result = value.new_zeros(B * S * M, D, dtype=torch.float32)
    start = 0
    for level, (height, width) in enumerate(shapes):
        x, y = points[:, :, :, level].float().unbind(-1)  # (B, Q, M, P)
        if reference is None:
            x, y = x * width - 0.5, y * height - 0.5
        else:
            origin = reference[:, :, level if reference.shape[2] > 1 else 0, :, None, None]
            x, y = x + (origin[:, :, 0] * width - 0.5), y + (origin[:, :, 1] * height - 0.5)
        inside = (x > -1) & (x < width) & (y > -1) & (y < height)
        x, y = torch.where(inside, x, 0), torch.where(inside, y, 0)
        left, top = x.floor(), y.floor()
        for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                has = inside & (column >= 0) & (column < width) & (row >= 0) & (row < height)
                pixel = torch.where(has, row.long() * width + column.long(), 0)
                share = (weights[:, :, :, level] * share_x * share_y)[..., None] * upstream
                share = torch.where(has[..., None], share, 0)
                result.index_put_((rows + (start + pixel) * M,), share, accumulate=True)
        start += height * width
    return result.view(B, S, M, D)

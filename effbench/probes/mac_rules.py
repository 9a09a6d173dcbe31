"""How many multiply-accumulates each operator costs, in two conventions that are never mixed.

`papers` is what the papers' own tool counts (fvcore through detectron2's wrapper): one fused multiply-add is 1,
norms and bilinear resizes count, the deformable sampling core and the masked attention's QK^T do not.
`complete` adds what that leaves out. An executed operator that stands in no table here is an error: a new one
must be given a cost, or a stated zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

Rule = Callable[[Sequence[Any], Any], int]
"""(arguments, output) -> multiply-accumulates."""


def _numel(x: Any) -> int:
    return math.prod((x[0] if isinstance(x, (tuple, list)) else x).shape)


def _convolution(args: Sequence[Any], out: Any) -> int:
    return _numel(out) * math.prod(args[1].shape[1:])


def _matmul(first: int) -> Rule:
    def rule(args: Sequence[Any], out: Any) -> int:
        return _numel(out) * args[first].shape[-1]

    return rule


def _norm(weight: int) -> Rule:
    """5 per element with an affine map, 4 without (fvcore's norm_flop_counter)."""

    def rule(args: Sequence[Any], out: Any) -> int:
        return _numel(args[0]) * (5 if args[weight] is not None else 4)

    return rule


def _batch_norm(args: Sequence[Any], out: Any) -> int:
    return _numel(args[0]) * (2 if args[1] is not None else 1)  # inference: a scale and a shift


def _per_output(factor: int) -> Rule:
    return lambda args, out: factor * _numel(out)


def _per_input(factor: int) -> Rule:
    return lambda args, out: factor * _numel(args[0])


COUNTED: dict[Any, Rule] = {
    aten.convolution: _convolution,
    aten.mm: _matmul(0),
    aten.addmm: _matmul(1),
    aten.bmm: _matmul(0),
    aten.baddbmm: _matmul(1),
    aten.native_group_norm: _norm(1),
    aten.native_layer_norm: _norm(2),
    aten.native_batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.upsample_bilinear2d: _per_output(4),
    aten.upsample_nearest2d: _per_output(1),
    aten._adaptive_avg_pool2d: _per_input(1),
    aten.mean: _per_input(1),
}
"""Both conventions."""

FREE = {
    *(aten.relu, aten.relu_, aten.gelu, aten.silu, aten.silu_, aten.sigmoid, aten.hardsigmoid, aten.hardswish,
      aten.hardswish_, aten._softmax, aten._safe_softmax, aten.add, aten.add_, aten.sub, aten.mul, aten.mul_, aten.div,
      aten.div_, aten.neg, aten.exp, aten.sin, aten.cos, aten.pow, aten.sqrt, aten.rsqrt, aten.bitwise_and,
      aten.bitwise_not, aten.logical_not, aten.logical_and, aten.lt, aten.gt, aten.eq, aten.ne, aten.all, aten.any,
      aten.where, aten.masked_fill, aten.masked_fill_, aten.max_pool2d_with_indices, aten.avg_pool2d, aten.argmax,
      aten.max, aten.sum, aten.index, aten.clamp, aten.floor_divide, aten.remainder),
    *(aten.view, aten._unsafe_view, aten.reshape, aten.permute, aten.transpose, aten.t, aten.expand, aten.clone,
      aten.cat, aten.stack, aten.split, aten.split_with_sizes, aten.slice, aten.select, aten.unsqueeze, aten.squeeze,
      aten.constant_pad_nd, aten.repeat, aten.roll, aten.unbind, aten.alias, aten.detach, aten.as_strided,
      aten.contiguous, aten.flip, aten.unfold, aten.chunk),
    *(aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.zeros, aten.zeros_like, aten.new_zeros,
      aten.ones, aten.ones_like, aten.full, aten.full_like, aten.new_full, aten.arange, aten.fill_, aten.zero_,
      aten.scalar_tensor, aten.copy_, aten._to_copy, aten.lift_fresh, aten.lift_fresh_copy, aten.meshgrid,
      aten.linspace, aten.sym_size, aten.index_put_),
}  # fmt: skip
"""No multiply-accumulates: element-wise arithmetic, pooling and copies, zero in both conventions (as in fvcore)."""


def papers_and_complete(op: Any, args: Sequence[Any], out: Any) -> tuple[int, int]:
    """(papers, complete) multiply-accumulates of one executed operator.

    Raises NotImplementedError for an operator without a rule.
    """
    packet = op.overloadpacket
    if packet in COUNTED:
        macs = COUNTED[packet](args, out)
        return macs, macs
    if packet in FREE:
        return 0, 0
    if packet in flop_registry:  # an operator of ours: known to PyTorch's counter, unknown to the papers' tool
        return 0, int(flop_registry[packet](*args, out_val=out)) // 2
    raise NotImplementedError(
        f"no MAC rule for {packet}; add it to COUNTED or FREE in {__name__}, or register a FLOP formula for it"
    )


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    heads: int,
    *_: Any,
    attn_mask: Any = None,
    **__: Any,
) -> tuple[int, int]:
    """(papers, complete) of torch's multi_head_attention_forward on (L, B, E), (S, B, E).

    The release computes masked attention's QK^T with baddbmm, which the papers' tool does not know.
    """
    length, batch = query.shape[:2]
    source = key.shape[0]
    projections = batch * (2 * length * embed_dim + 2 * source * embed_dim) * embed_dim
    product = batch * length * source * embed_dim
    return projections + product * (1 if attn_mask is not None else 2), projections + 2 * product


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **_: Any) -> tuple[int, int]:
    """(papers, complete) of scaled_dot_product_attention on (..., L, E), (..., S, E), (..., S, Ev).

    A boolean mask is masked attention (see above); a float one is a position bias, added after a counted product.
    """
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    qk, av = scores * query.shape[-1], scores * value.shape[-1]
    masked = attn_mask is not None and attn_mask.dtype == torch.bool
    return av + (0 if masked else qk), qk + av

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

from effbench.errors import InputError

aten = torch.ops.aten


class UnknownOperatorError(InputError, NotImplementedError):
    """A model runs an operator that no table here knows."""


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
}
"""Both conventions."""

_ELEMENTWISE = """
    relu relu_ gelu silu silu_ sigmoid hardsigmoid hardswish hardswish_ leaky_relu leaky_relu_ hardtanh
    hardtanh_ cumsum _softmax _safe_softmax add add_ sub mul mul_ div div_ neg exp sin cos pow sqrt rsqrt
    bitwise_and bitwise_not logical_not logical_and lt gt eq ne all any where masked_fill masked_fill_
    max_pool2d_with_indices avg_pool2d argmax max sum index clamp floor_divide remainder
"""
_RESHAPED = """
    view _unsafe_view reshape permute transpose t expand clone cat stack split split_with_sizes slice select
    unsqueeze squeeze constant_pad_nd repeat roll unbind alias detach as_strided contiguous flip unfold chunk
"""
_CREATED = """
    empty empty_like empty_strided new_empty zeros zeros_like new_zeros ones ones_like full full_like new_full
    arange fill_ zero_ scalar_tensor copy_ _to_copy lift_fresh lift_fresh_copy meshgrid linspace sym_size
    index_put_
"""
FREE = {getattr(aten, name) for name in (_ELEMENTWISE + _RESHAPED + _CREATED).split()}
"""No multiply-accumulates: element-wise arithmetic, pooling and copies, zero in both conventions (as in fvcore)."""


def papers_and_complete(op: Any, args: Sequence[Any], out: Any) -> tuple[int, int]:
    """(papers, complete) multiply-accumulates of one executed operator.

    Raises UnknownOperatorError for an operator without a rule.
    """
    packet = op.overloadpacket
    if packet in COUNTED:
        macs = COUNTED[packet](args, out)
        return macs, macs
    if packet in FREE:
        return 0, 0
    if packet is aten.mean:  # unknown to the papers' tool; adaptive pooling, which it counts, is counted as a whole
        return 0, _numel(args[0])
    if packet in flop_registry:  # an operator of ours: known to PyTorch's counter, unknown to the papers' tool
        return 0, int(flop_registry[packet](*args, out_val=out)) // 2
    raise UnknownOperatorError(
        f"no MAC rule for {packet}; add it to COUNTED or FREE in {__name__}, or register a FLOP formula for it"
    )


def adaptive_average(x: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
    """(papers, complete) of adaptive average pooling: one per input, whether it runs as a pooling or as a mean."""
    return x.numel(), x.numel()


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

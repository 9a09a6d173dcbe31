"""Compiled extensions that a user may have: the CUDA operator of Deformable DETR in its editions, and DCNv4's.

All take one dtype: locations are rounded to the value's, which the check then sees.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from effbench.peers.contract import Case, Implementation, Peer, Shapes, locations, table

STEP = 128
"""Images that the classic kernel takes at a time; a batch must be a multiple of it where it is larger."""
HUB_PACKAGE, HUB_KERNEL = "kernels", "kernels-community/deformable-detr"


def peers() -> dict[str, Peer]:
    """mmcv's operator, the extension of Deformable DETR and Mask2Former, Hugging Face's hub kernel, and DCNv4's."""
    extension = "MultiScaleDeformableAttention"
    return {
        "dcnv4": Peer(_dcnv4, partial(_no_module, "DCNv4"), _dcnv4_refuses, "DCNv4"),
        "cuda_op": Peer(partial(_classic, extension), partial(_no_module, extension), _classic_refuses, extension),
        "mmcv": Peer(_mmcv, partial(_no_module, "mmcv"), partial(_classic_refuses, half=True), "mmcv"),
        "hub": Peer(_hub, _no_hub_kernel, _classic_refuses, HUB_PACKAGE),
    }


def _no_module(name: str) -> str | None:
    spec = importlib.util.find_spec(name)
    return None if spec is not None and spec.origin is not None else f"{name} is not installed"


def _no_hub_kernel() -> str | None:
    """Only what lies in the local cache is used: a measurement downloads nothing."""
    if reason := _no_module(HUB_PACKAGE):
        return reason
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = any(repo.repo_id == HUB_KERNEL for repo in scan_cache_dir().repos)
    except CacheNotFound:
        found = False
    return None if found else f"{HUB_KERNEL} is not in the local cache of the hub"


def _classic_refuses(case: Case, half: bool = False) -> str | None:
    if case.device != "cuda":
        return f"it needs tensors on a CUDA device, the cell runs on {case.device}"
    if case.dtype == torch.bfloat16 and half:
        return "it has no bfloat16"
    if case.B > STEP and case.B % STEP:
        return f"it takes batches up to {STEP} or multiples of it"
    return None


def _dcnv4_refuses(case: Case) -> str | None:
    if case.device != "cuda":
        return f"it needs tensors on a CUDA device, the cell runs on {case.device}"
    if not case.fused:
        return "it takes logits instead of weights: compare it as a fused operator"
    if case.P not in (4, 8) or case.D % 8:
        return f"it has kernels for 4 or 8 points and multiples of 8 channels, got {case.P} and {case.D}"
    if case.backward and case.dtype == torch.bfloat16:
        return "its backward has no bfloat16"
    per_block = [_per_block(case, 8, 512)] + ([_per_block(case, 2 if case.D >= 64 else 1, 256)] * case.backward)
    if case.B > 1 and any(case.Q % queries for queries in per_block):
        return f"blocks of {max(per_block)} queries would reach over the end of an image and read from the wrong one"
    return None


def _per_block(case: Case, stride: int, threads: int) -> int:
    """Queries of one block, as its launcher chooses them: a divisor of B*Q, whatever the images' ends."""
    total = case.B * case.Q
    fitting = (m for m in range(1, 65) if total % m == 0 and m * case.M * case.D // stride <= threads)
    return max(fitting, default=1)


def _classic(name: str) -> Implementation:
    return Implementation(_classic_op(importlib.import_module(name)))


def _mmcv() -> Implementation:
    function = importlib.import_module("mmcv.ops.multi_scale_deform_attn").MultiScaleDeformableAttnFunction
    return Implementation(_one_dtype(lambda *arguments: function.apply(*arguments, STEP)))


def _hub() -> Implementation:
    import huggingface_hub.constants

    online = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        return Implementation(_classic_op(importlib.import_module(HUB_PACKAGE).get_kernel(HUB_KERNEL)))
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = online


def _classic_op(module: Any) -> Callable[..., Tensor]:
    """The functions of the released extension with the derivative that its Python has."""

    class Classic(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Tensor) -> Any:
            ctx.save_for_backward(*tensors)
            return module.ms_deform_attn_forward(*tensors, STEP)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            found = module.ms_deform_attn_backward(*ctx.saved_tensors, grads[0].contiguous(), STEP)
            return found[0], None, None, found[1], found[2]

    apply: Any = Classic.apply
    return _one_dtype(apply)


def _one_dtype(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`run` of (value, sizes, starts, locations, weights), all of the value's dtype, as our operator."""

    def op(value: Tensor, shapes: Shapes, places: Tensor, weights: Tensor) -> Tensor:
        sizes, starts = table(tuple(shapes), value.device)
        return run(value, sizes, starts, places.to(value.dtype), weights.to(value.dtype))

    return op


def _dcnv4() -> Implementation:
    function = importlib.import_module("DCNv4.functions").FlashDeformAttnFunction

    def fused(value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor) -> Tensor:
        sizes, starts = table(tuple(shapes), value.device)
        places = locations(shapes, offsets, reference).flatten(3).to(value.dtype)
        packed = torch.cat([places, logits.flatten(3).to(value.dtype)], dim=-1)
        return function.apply(value, sizes, starts, packed, 64, offsets.shape[4])

    return Implementation(fused=fused)

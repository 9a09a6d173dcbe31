"""Other people's Triton kernels that a user may have; two packages share the module name `msda_triton`."""

from __future__ import annotations

import importlib
import importlib.util
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from effbench.peers.contract import Case, Implementation, Peer, Shapes, table

MODULE = "msda_triton"


def peers() -> dict[str, Peer]:
    """roulbac/msda-triton, and rziga/msda-triton, past whose own fallback to grid_sample it is called."""
    both = torch.float32, torch.float16
    return {
        "roulbac": Peer(_roulbac, partial(_no_file, "ops.py", "roulbac"), partial(_refuses, ()), "msda-triton"),
        "rziga": Peer(_rziga, partial(_no_file, "frontend.py", "rziga"), partial(_refuses, both), "msda-triton"),
    }


def _no_file(name: str, owner: str) -> str | None:
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        return f"{MODULE} is not installed"
    return None if Path(spec.origin).with_name(name).exists() else f"the {MODULE} that is installed is not {owner}'s"


def _refuses(dtypes: tuple[torch.dtype, ...], case: Case) -> str | None:
    if case.device != "cuda":
        return f"it needs tensors on a CUDA device, the cell runs on {case.device}"
    return f"it has no {case.dtype}" if dtypes and case.dtype not in dtypes else None


def _roulbac() -> Implementation:
    run = importlib.import_module(f"{MODULE}.ops").multi_scale_deformable_attention

    def op(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        return run(value, *table(tuple(shapes), value.device), locations.to(value.dtype), weights.to(value.dtype))

    return Implementation(op)


def _rziga() -> Implementation:
    run = importlib.import_module(f"{MODULE}.frontend").triton_multiscale_deformable_attention

    def op(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
        sizes = table(tuple(shapes), value.device).shapes
        places, scores = locations.to(value.dtype), weights.to(value.dtype)
        found: Tensor = run(value, sizes, places, scores, "zeros", False)
        return found.flatten(2)

    return Implementation(op)

"""Our own implementations as peers of each other, what all are held against, and its compiled twin."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS, ms_deform_attn, ms_deform_attn_fused, why_not
from effbench.kernels.ms_deform_attn.reference import forward
from effbench.kernels.ms_deform_attn.triton_launch import TABLE, Config, Key, candidates, key_of
from effbench.peers.contract import Case, Implementation, Peer, Shapes


def peers() -> dict[str, Peer]:
    """Ours by name, and `grid_sample_compiled`: the reference's forward by torch.compile, derived by autograd."""
    ours = {name: Peer(partial(_load, name), refuses=partial(_refuses, name)) for name in IMPLEMENTATIONS}
    return {**ours, "grid_sample_compiled": Peer(_compiled, refuses=_no_compiler)}


def exact(value: Tensor, shapes: Shapes, places: Tensor, scores: Tensor, reference: Tensor | None = None) -> Tensor:
    """The operator in float64 by the reference; fused with `reference`."""
    double = [tensor.double() for tensor in (value, places, scores)]
    if reference is None:
        return ms_deform_attn(double[0], shapes, double[1], double[2], impl="reference")
    return ms_deform_attn_fused(double[0], shapes, double[1], double[2], reference.double(), impl="reference")


def configurations(case: Case) -> list[Config]:
    """Launch configurations of our Triton kernels that are worth timing for the case."""
    return candidates(_key(case))


@contextmanager
def launched_with(case: Case, configuration: Config) -> Iterator[None]:
    """Inside, our Triton kernel of the case is launched with another configuration than its table has."""
    key = _key(case)
    before = dict(TABLE)
    TABLE[key] = configuration
    try:
        yield
    finally:
        TABLE.clear()
        TABLE.update(before)


def row_work() -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], None], int]:
    """What gathers rows, what adds to them, and of how many sums it takes a multiple: see `kernels/row_rates.py`."""
    from effbench.kernels.row_rates import BLOCK, add, gather

    return gather, add, BLOCK


def _key(case: Case) -> Key:
    return key_of("backward" if case.backward else "forward", case.dtype.itemsize, case.D, case.P)


def _load(name: str) -> Implementation:
    return Implementation(partial(ms_deform_attn, impl=name), partial(ms_deform_attn_fused, impl=name))


class _Kind(NamedTuple):
    """What implementations ask of a value. Even a fake tensor would make a context on the GPU."""

    device: torch.device
    dtype: torch.dtype
    shape: torch.Size


def _refuses(name: str, case: Case) -> str | None:
    kind = _Kind(torch.device(case.device), case.dtype, torch.Size((case.B, case.S, case.M, case.D)))
    return why_not(name, cast(Tensor, kind))


def _no_compiler(case: Case) -> str | None:
    compiler = os.environ.get("CXX", "g++" if sys.platform == "linux" else "clang++")
    if case.device == "cpu" and shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler for a CPU, and there is no {compiler}; CXX names another"
    return None


def _compiled() -> Implementation:
    return Implementation(torch.compile(forward, dynamic=False, fullgraph=True))

"""fvcore's counter, told of the operator, counts what PyTorch's counts; untold it leaves it out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from effbench.kernels.ms_deform_attn import costs, ms_deform_attn, ms_deform_attn_fused
from effbench.kernels.ms_deform_attn.handles import HANDLES

fvcore = pytest.importorskip("fvcore.nn", reason="fvcore, the papers' counter, is not installed")


class Calls(nn.Module):
    def __init__(self, shapes: Any, fused: bool) -> None:
        super().__init__()
        self.shapes, self.fused = shapes, fused

    def forward(self, value: Tensor, places: Tensor, scores: Tensor, *reference: Tensor) -> Tensor:
        op: Callable[..., Tensor] = ms_deform_attn_fused if self.fused else ms_deform_attn
        return op(value, self.shapes, places, scores, *reference)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("fused", [False, True], ids=["core", "fused"])
def test_both_counters_agree(fused: bool, make: Callable[..., Any]) -> None:
    call = make(fused, B=2, Q=7, M=3, P=4, D=8, dtype=torch.float32)
    module = Calls(call.shapes, fused)
    inputs = tuple(tensor.detach() for tensor in call.tensors)
    name = "effbench::ms_deform_attn" + ("_fused" if fused else "")
    analysis = fvcore.FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False)
    assert analysis.total() == 0 and analysis.unsupported_ops()[name] == 1
    told = fvcore.FlopCountAnalysis(module, inputs)
    for operator, handle in HANDLES.items():
        told.set_op_handle(operator, handle)
    with FlopCounterMode(display=False) as pytorch:
        module(*inputs)
    assert told.by_operator().keys() == {name.partition("::")[2]}
    assert 2 * told.total() == pytorch.get_total_flops() == 2 * costs.forward_macs((2, 7, 3, 2, 4, 2), 8) > 0

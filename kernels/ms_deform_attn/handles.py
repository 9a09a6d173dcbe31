"""What fvcore's counter must be told of the operator, which it would leave out: PyTorch's own knows it by itself.

analysis = fvcore.nn.FlopCountAnalysis(model, inputs)
for name, handle in HANDLES.items():
    analysis.set_op_handle(name, handle)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from effbench.kernels.ms_deform_attn import costs


def count(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Multiply-accumulates, which fvcore counts as one, of a traced call of either operator."""
    value, places = inputs[0].type().sizes(), inputs[2].type().sizes()
    return costs.forward_macs(places, value[3])


HANDLES: Mapping[str, Callable[[Sequence[Any], Sequence[Any]], int]] = {
    "effbench::ms_deform_attn": count,
    "effbench::ms_deform_attn_fused": count,
}

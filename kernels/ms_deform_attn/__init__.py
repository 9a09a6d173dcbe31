"""Multi-scale deformable attention: one operator, several implementations, no silent choice between them.

The operator gathers, for every query and head, a few points from a pyramid of value maps and sums them with
attention weights (Deformable DETR, Zhu et al. 2021, section 4.1). This package holds its plain PyTorch
reference, faster implementations, the registered `torch.ops.effbench.ms_deform_attn` and
`ms_deform_attn_fused`, and what they cost.
"""

from effbench.kernels.ms_deform_attn.implementations import (
    IMPLEMENTATIONS,
    check_name,
    resolve_implementation,
    why_not,
)
from effbench.kernels.ms_deform_attn.op import ms_deform_attn, ms_deform_attn_fused

__all__ = [
    "IMPLEMENTATIONS",
    "check_name",
    "ms_deform_attn",
    "ms_deform_attn_fused",
    "resolve_implementation",
    "why_not",
]

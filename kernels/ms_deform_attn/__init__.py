"""Multi-scale deformable attention: one function, several implementations, no silent choice between them.

The operator gathers, for every query and head, a few points from a pyramid of value maps and sums them with
attention weights (Deformable DETR, Zhu et al. 2021, section 4.1). This package holds its plain PyTorch
reference, the registered `torch.ops.effbench.ms_deform_attn` and what it costs.
"""

from effbench.kernels.ms_deform_attn.op import IMPLEMENTATIONS, ms_deform_attn, resolve_implementation

__all__ = ["IMPLEMENTATIONS", "ms_deform_attn", "resolve_implementation"]

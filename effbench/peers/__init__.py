"""Who the operator is timed against: our own implementations, PyTorch's ways, and what a user has installed.

A package of a user offers one more through the entry-point group `effbench.kernel_peers`: a function of (value,
shapes, locations, weights), with an attribute `fused` of (value, shapes, offsets, logits, reference) if it has that.
"""

"""effbench: what does each encoder of a Mask2Former-style segmentation model cost, and what quality does it give?

Importing this package is light; the builders load PyTorch on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from effbench.encoders.registry import build_encoder
    from effbench.models.segmenter import build_segmenter

__all__ = ["__version__", "build_encoder", "build_segmenter"]

_LAZY = {"build_encoder": "effbench.encoders.registry", "build_segmenter": "effbench.models.segmenter"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'effbench' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)

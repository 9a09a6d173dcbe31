"""Which implementation serves a call: one place that decides, and that records and `effbench doctor` ask.

Each is a module with `reason(value)`, which says why it cannot serve a value or is None, and with `forward`,
`backward`, `forward_fused` and `backward_fused`. Nothing falls back to another in silence.
"""

from __future__ import annotations

from types import ModuleType

from torch import Tensor

from effbench.kernels.ms_deform_attn import cpu, reference, triton_impl

_RUNS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu, "triton": triton_impl}
IMPLEMENTATIONS = tuple(_RUNS)
"""Names that `impl` takes besides "auto"."""


def fastest(value: Tensor) -> str:
    """The implementation that is made for the device of `value`, whether or not it can serve it."""
    return {"cpu": "cpu", "cuda": "triton"}.get(value.device.type, "reference")


def why_not(impl: str, value: Tensor) -> str | None:
    """Why `impl`, one of `IMPLEMENTATIONS`, cannot serve `value` (B, S, M, D); None where it can."""
    answer: str | None = _RUNS[impl].reason(value)
    return answer


def resolve_implementation(impl: str, value: Tensor) -> str:
    """The implementation that `impl` means for `value` (B, S, M, D), of which only the kind of tensor counts.

    "auto" is the one that is made for the device where that can serve the value, else "reference".

    Raises ValueError for an unknown name, and for one that cannot serve the value, with the reason.
    """
    check_name(impl)
    if impl == "auto":
        impl = fastest(value)
        return "reference" if why_not(impl, value) else impl
    if reason := why_not(impl, value):
        raise ValueError(f"impl={impl!r} of ms_deform_attn cannot run: {reason}; expected 'auto', or one that can")
    return impl


def check_name(impl: str) -> None:
    """Raise ValueError unless `impl` is "auto" or one of `IMPLEMENTATIONS`."""
    if impl != "auto" and impl not in IMPLEMENTATIONS:
        raise ValueError(
            f"impl={impl!r} is not an implementation of ms_deform_attn; expected 'auto' or one of {IMPLEMENTATIONS}"
        )


def implementation(impl: str, value: Tensor) -> ModuleType:
    """The module that serves `value` when asked for `impl`; raises as `resolve_implementation`."""
    return _RUNS[resolve_implementation(impl, value)]

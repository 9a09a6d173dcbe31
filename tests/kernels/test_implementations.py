"""Which implementation serves a call, and who says so."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import (
    IMPLEMENTATIONS,
    check_name,
    cpu,
    implementations,
    resolve_implementation,
    triton_impl,
    why_not,
)


def value(dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.empty(1, 1, 1, 32, dtype=dtype, device=device)


def test_auto_is_the_one_for_the_device_where_it_can_serve() -> None:
    assert resolve_implementation("auto", value()) == "cpu"
    assert resolve_implementation("auto", value(torch.bfloat16)) == "cpu"
    assert resolve_implementation("auto", value(torch.float64)) == "reference"
    assert resolve_implementation("auto", value(device="meta")) == "reference"
    assert "auto" not in IMPLEMENTATIONS


@pytest.mark.parametrize(("reason", "expected"), [(None, "triton"), ("no GPU will do", "reference")])
def test_on_cuda_it_is_triton_or_the_reference(
    reason: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_impl, "reason", lambda value: reason)
    pretended: Any = SimpleNamespace(device=torch.device("cuda", 0))
    assert resolve_implementation("auto", pretended) == expected
    assert why_not("triton", pretended) == reason


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_what_is_asked_for_runs_or_is_refused_with_the_reason(impl: str) -> None:
    meta = value(device="meta")
    reason = why_not(impl, meta)
    if reason is None:
        assert resolve_implementation(impl, meta) == impl == "reference"
    else:
        with pytest.raises(ValueError, match=f"impl='{impl}'.*meta") as raised:
            resolve_implementation(impl, meta)
        assert reason in str(raised.value)


def test_an_unknown_name() -> None:
    for ask in (check_name, lambda name: resolve_implementation(name, value())):
        with pytest.raises(ValueError, match=r"impl='cuda'.*expected 'auto' or one of \('reference'"):
            ask("cuda")


def test_the_module_that_serves() -> None:
    assert implementations.implementation("auto", value()) is cpu
    for module in implementations._RUNS.values():
        assert isinstance(module, ModuleType)
        for name in ("reason", "forward", "backward", "forward_fused", "backward_fused"):
            assert callable(getattr(module, name)), (module, name)

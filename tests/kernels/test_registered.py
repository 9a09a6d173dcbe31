"""Both operators as PyTorch's own checks see them: schema, autograd, tracing, compilation, FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from effbench.kernels.ms_deform_attn import costs, ms_deform_attn, ms_deform_attn_fused

Make = Callable[..., Any]
both = pytest.mark.parametrize("fused", [False, True], ids=["core", "fused"])
impls = pytest.mark.parametrize("impl", ["auto", "cpu", "reference"])
operators = torch.ops.effbench


@pytest.mark.parametrize(
    "check", ["test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"]
)
@impls
@both
def test_opcheck(fused: bool, impl: str, check: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32).leaves()
    arguments = call.registered(impl)
    assert torch.library.opcheck(getattr(operators, call.operator), arguments, test_utils=check) == {check: "SUCCESS"}


@pytest.mark.parametrize("check", ["test_schema", "test_faketensor"])
@impls
@both
def test_opcheck_of_the_backward(fused: bool, impl: str, check: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    operator = getattr(operators, f"{call.operator}_backward")
    arguments = (torch.randn(2, 3, 8), *call.registered(impl))
    assert torch.library.opcheck(operator, arguments, test_utils=check) == {check: "SUCCESS"}


@pytest.mark.parametrize("check", ["test_schema", "test_autograd_registration", "test_faketensor"])
@impls
@both
def test_opcheck_of_mixed_dtypes(fused: bool, impl: str, check: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    mixed = call.replace(value=call.value.bfloat16()).leaves()
    operator = getattr(operators, call.operator)
    assert torch.library.opcheck(operator, mixed.registered(impl), test_utils=check) == {check: "SUCCESS"}


@impls
@both
def test_strided_arguments_give_gradients_that_the_fake_ones_foretell(fused: bool, impl: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32).map(lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0))
    arguments = (torch.randn(2, 3, 8), *call.registered(impl))
    torch.library.opcheck(getattr(operators, f"{call.operator}_backward"), arguments, test_utils="test_faketensor")


@both
def test_second_derivatives_are_refused_not_wrong(fused: bool, make: Make) -> None:
    call = make(fused).leaves()
    for wanted in call.tensors:
        (first,) = torch.autograd.grad(call().square().sum(), wanted, create_graph=True)
        with pytest.raises(RuntimeError, match="no autograd formula"):
            first.square().sum().backward()


def test_reference_points_get_the_gradient_of_what_they_move(make: Make) -> None:
    """Moved by a pixel of each level, they do what an offset of one pixel does."""
    call = make(True, shapes=((4, 8),), P=1, M=1, B=1, Q=1)
    _, offsets, _, points = call.gradients()
    torch.testing.assert_close(points.view(2), offsets.view(2) * torch.tensor([8.0, 4.0], dtype=torch.float64))


@both
def test_only_wanted_gradients_are_given(fused: bool, make: Make) -> None:
    call = make(fused)
    call.value.requires_grad_()
    call().sum().backward()
    assert call.value.grad is not None and all(t.grad is None for t in call.tensors[1:])


@pytest.mark.usefixtures("fresh_compiler")
@impls
@both
def test_compiled_whole_equals_eager(fused: bool, impl: str, make: Make) -> None:
    function = ms_deform_attn_fused if fused else ms_deform_attn
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    for Q in (3, 5):  # the second size traces symbolic shapes
        eager = make(fused, Q=Q, dtype=torch.float32).leaves()
        traced = eager.leaves()
        expected = eager(impl)
        output = compiled(traced.value, traced.shapes, *traced.tensors[1:], impl=impl)
        assert torch.equal(output, expected)
        expected.square().sum().backward()
        output.square().sum().backward()
        for a, b in zip(traced.tensors, eager.tensors, strict=True):
            assert torch.equal(a.grad, b.grad)


@both
def test_it_can_be_exported(fused: bool, make: Make) -> None:
    call = make(fused, dtype=torch.float32)

    class Module(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            return call.of(*tensors)()

    exported = torch.export.export(Module(), call.tensors)
    assert f"effbench.{call.operator}.default" in str(exported.graph)
    assert torch.equal(exported.module()(*call.tensors), call())


@pytest.mark.parametrize("device", ["cpu", "meta"])
@both
def test_flop_counter_sees_the_operator(fused: bool, device: str, make: Make) -> None:
    B, Q, M, P, D, L = 2, 7, 3, 4, 5, 2
    call = make(fused, B=B, Q=Q, M=M, P=P, D=D).map(lambda t: t.to(device)).leaves()
    with FlopCounterMode(display=False) as counter:
        output = call()
        assert counter.get_total_flops() == 2 * 5 * B * Q * M * L * P * D
        output.backward(torch.ones_like(output))
    forward, backward = (c((B, Q, M, L, P, 2), D) for c in (costs.forward_macs, costs.backward_macs))
    assert counter.get_total_flops() == 2 * (forward + backward)


@both
@impls
def test_meta_tensors_give_the_shape(fused: bool, impl: str, make: Make) -> None:
    call = make(fused, dtype=torch.float32)
    real, meta = call(impl), call.map(lambda t: t.to("meta"))("auto")
    assert meta.device.type == "meta"
    assert (meta.shape, meta.dtype, meta.stride()) == (real.shape, real.dtype, real.stride())


@both
def test_the_registered_operator_runs_what_it_is_told_or_nothing(fused: bool, make: Make) -> None:
    """Whoever calls it without the public function gets no substitute."""
    call = make(fused)
    with pytest.raises(ValueError, match="'nonsense'"):
        getattr(operators, call.operator)(*call.registered("nonsense"))
    with pytest.raises(ValueError, match=r"impl='cpu'.*float64"):
        getattr(operators, call.operator)(*call.registered("cpu"))
    backward = getattr(operators, f"{call.operator}_backward")
    with pytest.raises(ValueError, match=r"impl='cpu'.*float64"):
        backward(torch.randn(2, 3, 8, dtype=torch.float64), *call.registered("cpu"))

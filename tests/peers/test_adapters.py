"""Adapters of packages that are rarely installed, on stand-ins that have their signatures and are right."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import CacheNotFound
from torch import Tensor

from effbench.peers import extensions
from effbench.peers.contract import Case
from effbench.peers.own import exact
from effbench.peers.registry import find
from effbench.probes.kernel_check import check, verdict
from effbench.probes.kernel_inputs import Problem, inputs

SMALL = Problem(((2, 3), (4, 6), (8, 12)), 2, 4, 8, 4, 126, "realistic", torch.float32, "cpu")
ON_CUDA = Case("cuda", torch.float32, 1, 21950, 8, 32, 21950, 3, 4, False, False)
Plant = Callable[..., None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Makes a package `name` with files, importable as long as the test runs, whose modules have attributes."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, modules: dict[str, dict[str, Any]]) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        for path, attributes in modules.items():
            (tmp_path / name / f"{path.rpartition('.')[2]}.py").touch()
            module = ModuleType(f"{name}.{path}")
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, f"{name}.{path}" if path else name, module)

    return put


def pairs(sizes: Tensor, starts: Tensor | None = None) -> list[tuple[int, int]]:
    shapes = [(int(h), int(w)) for h, w in sizes]
    if starts is not None:
        areas = [h * w for h, w in shapes]
        assert starts.tolist() == [sum(areas[:level]) for level in range(len(areas))]
    return shapes


def op(value: Tensor, sizes: Tensor, starts: Tensor, places: Tensor, weights: Tensor, *_: Any) -> Tensor:
    assert value.dtype == places.dtype == weights.dtype, "these take one dtype"
    return exact(value, pairs(sizes, starts), places, weights).to(value.dtype)


def classic_backward(*arguments: Any) -> list[Tensor]:
    value, sizes, starts, places, weights, grad, step = arguments
    assert step == extensions.STEP and grad.is_contiguous()
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in (value, places, weights)]
        return list(torch.autograd.grad(op(leaves[0], sizes, starts, *leaves[1:]), leaves, grad))


CLASSIC = {"ms_deform_attn_forward": op, "ms_deform_attn_backward": classic_backward}


def passes(name: str, fused: bool = False, backward: bool = True) -> None:
    implementation = find(name).load()
    run = implementation.fused if fused else implementation.op
    assert run is not None
    assert verdict(check(run, SMALL, fused, backward, 1000)) is None


def test_transformers() -> None:
    assert find("transformers").absent() is None
    passes("transformers")


def test_the_extension_of_deformable_detr_has_its_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("MultiScaleDeformableAttention")
    vars(module).update(CLASSIC)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    passes("cuda_op")


def test_mmcv(plant: Plant) -> None:
    plant("mmcv", {"ops.multi_scale_deform_attn": {"MultiScaleDeformableAttnFunction": SimpleNamespace(apply=op)}})
    passes("mmcv")


def test_the_hub_kernel_is_only_taken_from_the_cache(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_kernel(name: str) -> Any:
        assert name == "kernels-community/deformable-detr"
        assert huggingface_hub.constants.HF_HUB_OFFLINE, "it must not download"
        return SimpleNamespace(**CLASSIC)

    def no_cache() -> None:
        raise CacheNotFound("no cache", cache_dir="nowhere")

    plant("kernels", {"": {"get_kernel": get_kernel}})
    monkeypatch.setattr(extensions, "_no_module", lambda _: None)
    for cached in (no_cache, lambda: SimpleNamespace(repos=[SimpleNamespace(repo_id="somebody/else")])):
        monkeypatch.setattr(huggingface_hub, "scan_cache_dir", cached)
        assert "is not in the local cache" in str(find("hub").absent())
    found = SimpleNamespace(repos=[SimpleNamespace(repo_id="kernels-community/deformable-detr")])
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: found)
    assert find("hub").absent() is None
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    passes("hub")
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE


def test_dcnv4_takes_locations_and_logits_in_one_tensor(plant: Plant) -> None:
    def apply(value: Tensor, sizes: Tensor, starts: Tensor, packed: Tensor, step: int, points: int) -> Tensor:
        samples = len(sizes) * points
        assert packed.dtype == value.dtype and packed.shape[-1] == 3 * samples
        shape = (*packed.shape[:3], len(sizes), points)
        weights = packed[..., 2 * samples :].softmax(-1).view(shape)
        return exact(value, pairs(sizes, starts), packed[..., : 2 * samples].view(*shape, 2), weights).to(value.dtype)

    plant("DCNv4", {"functions": {"FlashDeformAttnFunction": SimpleNamespace(apply=apply)}})
    passes("dcnv4", fused=True)
    assert find("dcnv4").load().op is None


def test_both_packages_called_msda_triton(plant: Plant) -> None:
    def rziga(value: Tensor, sizes: Tensor, places: Tensor, weights: Tensor, padding: str, corners: bool) -> Tensor:
        assert (padding, corners) == ("zeros", False)
        return exact(value, pairs(sizes), places, weights).to(value.dtype).unflatten(2, (SMALL.M, SMALL.D))

    assert find("roulbac").absent() == find("rziga").absent() == "msda_triton is not installed"
    plant("msda_triton", {"frontend": {"triton_multiscale_deformable_attention": rziga}})
    assert find("roulbac").absent() == "the msda_triton that is installed is not roulbac's"
    assert find("rziga").absent() is None
    passes("rziga")


def test_roulbacs(plant: Plant) -> None:
    plant("msda_triton", {"ops": {"multi_scale_deformable_attention": op}})
    assert find("roulbac").absent() is None
    assert find("rziga").absent() == "the msda_triton that is installed is not rziga's"
    passes("roulbac")


@pytest.mark.parametrize("name", ["dcnv4", "cuda_op", "mmcv", "roulbac", "rziga"])
def test_what_needs_a_gpu_refuses_a_cpu(name: str) -> None:
    assert "needs tensors on a CUDA device" in str(find(name).refuses(ON_CUDA._replace(device="cpu")))
    assert "not installed" in str(find(name).absent())


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("mmcv", {"dtype": torch.bfloat16}, "it has no bfloat16"),
        ("rziga", {"dtype": torch.bfloat16}, "it has no torch.bfloat16"),
        ("cuda_op", {"B": 200}, "batches up to 128"),
        ("dcnv4", {}, "takes logits instead of weights"),
        ("dcnv4", {"fused": True, "P": 3}, "4 or 8 points"),
        ("dcnv4", {"fused": True, "backward": True, "dtype": torch.bfloat16}, "its backward has no bfloat16"),
        ("dcnv4", {"fused": True, "B": 16}, "over the end of an image"),
    ],
)
def test_known_limits(name: str, changes: dict[str, Any], reason: str) -> None:
    assert reason in str(find(name).refuses(ON_CUDA._replace(**changes)))


@pytest.mark.parametrize(("B", "Q"), [(1, 21950), (2, 21950), (2, 43008), (16, 43008)])
def test_dcnv4_serves_the_shapes_that_it_gets_right(B: int, Q: int) -> None:
    assert find("dcnv4").refuses(ON_CUDA._replace(fused=True, B=B, Q=Q)) is None
    inputs.cache_clear()

"""Peers by name, and those that another package offers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from effbench.errors import InputError
from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS
from effbench.peers.contract import Case
from effbench.peers.registry import find, peers, version
from effbench.probes.kernel_check import check, verdict
from effbench.probes.kernel_inputs import Problem

CASE = Case("cpu", torch.float32, 1, 126, 4, 8, 126, 3, 4, False, True)


def offer(folder: Path, name: str) -> None:
    """A package in `folder` that offers a kernel peer."""
    (folder / "offering.py").write_text(
        "def op(value, shapes, locations, weights):\n    return 'plain'\n\n"
        "def fused(value, shapes, offsets, logits, reference):\n    return 'fused'\n\n"
        "op.fused = fused\n"
    )
    info = folder / "offering-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[effbench.kernel_peers]\n{name} = offering:op\n")


def test_all_are_known_by_name_without_being_loaded() -> None:
    found = peers()
    others = {"grid_sample_compiled", "transformers", "roulbac", "rziga", "dcnv4", "cuda_op", "mmcv", "hub"}
    assert found.keys() == {*IMPLEMENTATIONS, *others}
    with pytest.raises(InputError, match="no kernel is called 'fastest'; expected one of reference, cpu, triton"):
        find("fastest")


def test_ours_refuse_what_they_cannot_serve() -> None:
    assert find("reference").refuses(CASE) is None and find("cpu").refuses(CASE) is None
    assert "Triton needs a CUDA device" in str(find("triton").refuses(CASE))
    assert "it computes in float32, got torch.float64" in str(find("cpu").refuses(CASE._replace(dtype=torch.float64)))


def test_compiling_for_a_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    reason = find("grid_sample_compiled").refuses(CASE)
    assert reason == "torch.compile needs a C++ compiler for a CPU, and there is no no-such-compiler; CXX names another"
    assert find("grid_sample_compiled").refuses(CASE._replace(device="cuda")) is None


def test_the_compiled_one_is_right() -> None:
    """With a backend that compiles nothing, which takes seconds less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
        run = find("grid_sample_compiled").load().op
    assert run is not None
    small = Problem(((1, 2), (2, 3), (4, 6)), 1, 2, 4, 2, 32, "realistic", torch.float32, "cpu")
    assert verdict(check(run, small, fused=False, backward=True, most=32)) is None


def test_asking_about_a_gpu_touches_none() -> None:
    before = torch.cuda.is_initialized()
    assert find("triton").refuses(CASE._replace(device="cuda")) is None
    assert "needs tensors on the CPU, got cuda" in str(find("cpu").refuses(CASE._replace(device="cuda")))
    assert torch.cuda.is_initialized() == before


def test_another_package_offers_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "theirs")
    monkeypatch.syspath_prepend(str(tmp_path))
    peer = find("theirs")
    assert peer.absent() is None and peer.refuses(CASE) is None and version(peer) == "1.5"
    op, fused = peer.load()
    assert op is not None and fused is not None
    assert (op(*[None] * 4), fused(*[None] * 5)) == ("plain", "fused")  # type: ignore[arg-type]


def test_a_name_that_is_taken_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "triton")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="offering:op offers kernel peer 'triton', which is there already"):
        peers()


def test_versions() -> None:
    assert version(find("reference")) is None
    assert version(find("transformers")) is not None
    assert version(find("dcnv4")) is None, "not installed"

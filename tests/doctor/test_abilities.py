"""Which devices, types of number and packages doctor finds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from effbench.doctor import abilities


def test_the_cpu_is_a_device_with_memory_and_types(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 2048 kB\nMemAvailable: 1024 kB\n")
    cpu = abilities.devices(tmp_path)["cpu"]
    assert (cpu["memory"], cpu["memory_free"]) == (2 * 2**20, 2**20)
    assert cpu["cores"] >= 1 and cpu["name"]
    assert cpu["dtypes"]["float32"] == "runs" and cpu["dtypes"]["float64"] == "runs"


@pytest.mark.parametrize(
    ("info", "bfloat16", "float16"),
    [
        ("flags\t\t: fpu avx512_bf16 avx512_fp16", "runs", "runs"),
        ("flags\t\t: fpu amx_bf16", "runs", "slowly"),
        ("Features\t: fp asimdhp", "slowly", "runs"),
        ("processor : 0", "runs", "runs"),
    ],
)
def test_numbers_without_instructions_are_slow(info: str, bfloat16: str, float16: str, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(info)
    found = abilities.dtypes(torch.device("cpu"), tmp_path)
    assert ("slowly" in found["bfloat16"], "slowly" in found["float16"]) == (bfloat16 == "slowly", float16 == "slowly")


def test_a_type_that_the_device_refuses_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "DTYPES", (torch.bool,))
    assert "Bool" in abilities.dtypes(torch.device("cpu"))["bool"]


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zeus" else find(name))
    found = abilities.peers()
    assert found.keys() == {"panopticapi", "transformers", "fvcore", "zeus"}
    assert found["zeus"]["version"] is None and found["zeus"]["install"] == "pip install 'effbench[energy]'"


def test_a_package_that_is_here_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "PEERS", {"pytest": (("nobody", "pytest"), "tests", "pip install pytest")})
    assert abilities.peers()["pytest"]["version"] == pytest.__version__

"""What a record says about the machine: enough to compare, nothing that names it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from effbench.study import environment

SECRET = "gandalf.example.org"


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Look at the machine anew, and again afterwards."""
    looks = (environment.environment, environment.host, environment.cpu_model, environment.commit)
    for look in looks:
        look.cache_clear()
    yield
    monkeypatch.undo()
    for look in looks:
        look.cache_clear()


@pytest.mark.usefixtures("forget")
def test_no_host_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("platform.node", "socket.gethostname"):
        monkeypatch.setattr(name, lambda: SECRET)
    said = json.dumps([environment.environment(), environment.host(), environment.machine()])
    assert "gandalf" not in said


def test_the_environment_is_plain_json_that_stays_the_same() -> None:
    first = environment.environment()
    assert json.loads(json.dumps(first)) == first
    environment.environment.cache_clear()
    assert environment.environment() == first, "nothing in it moves, or nothing would ever be finished"
    assert {"python", "torch", "timm", "cpu", "cores", "gpu"} <= first.keys()


def test_the_mark_of_the_machine_is_short_and_says_nothing() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", environment.host())


@pytest.mark.usefixtures("forget")
def test_a_machine_without_a_network_card_keeps_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """There uuid.getnode invents a number per process, with the multicast bit set to say so."""
    marks = []
    for invented in (0x010000000000 | 7, 0x010000000000 | 8):
        monkeypatch.setattr("uuid.getnode", lambda invented=invented: invented)
        environment.host.cache_clear()
        marks.append(environment.host())
    assert marks[0] == marks[1]


@pytest.mark.parametrize(
    ("gpu", "cpu", "expected"),
    [
        ("NVIDIA H200", "AMD EPYC 9654 96-Core Processor", "h200"),
        ("NVIDIA A100-SXM4-80GB", "any", "a100-sxm4-80gb"),
        ("NVIDIA GeForce RTX 4090", "any", "geforce-rtx-4090"),
        (None, "AMD EPYC 7B13", "cpu-amd-epyc-7b13-2c"),
        (None, "AMD EPYC 9654 96-Core Processor", "cpu-amd-epyc-9654-2c"),
        (None, "Intel(R) Xeon(R) Gold 6230 CPU @ 2.10GHz", "cpu-intel-xeon-gold-6230-2c"),
        (None, "Apple M2 Pro", "cpu-apple-m2-pro-2c"),
    ],
)
def test_the_machines_folder_is_named_by_its_accelerator_or_cpu(
    gpu: str | None, cpu: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "environment", lambda: {"gpu": gpu, "cpu": cpu, "cores": 2})
    assert environment.machine() == expected


def test_this_machines_folder_name_is_a_slug() -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", environment.machine())


@pytest.mark.usefixtures("forget")
def test_the_commit_is_that_of_this_checkout_or_unknown() -> None:
    root = Path(__file__).parents[2]
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    commit, dirty = environment.commit()
    if git.returncode == 0 and (root / ".git").exists():
        assert commit == git.stdout.strip()
        assert isinstance(dirty, bool)
    else:
        assert (commit, dirty) == (None, None)

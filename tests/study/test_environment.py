"""What a record says about the machine: enough to compare, nothing that names it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forget: None) -> Callable[[str | None, str], str]:
    """The mark of a machine with this content of /etc/machine-id (None: without one), and this node name."""
    file = tmp_path / "machine-id"
    monkeypatch.setattr(environment, "Path", lambda path: {"/etc/machine-id": file}[path])

    def look(machine_id: str | None, node: str) -> str:
        file.unlink(missing_ok=True)
        if machine_id is not None:
            file.write_text(machine_id)
        monkeypatch.setattr("platform.node", lambda: node)
        environment.host.cache_clear()
        return environment.host()

    return look


def test_a_machine_is_known_by_its_id_and_keeps_its_mark_under_another_name(
    mark: Callable[[str | None, str], str],
) -> None:
    assert mark("0123abcd\n", "here") == mark("0123abcd\n", "there")
    assert mark("0123abcd\n", "here") != mark("4567abcd\n", "here")


@pytest.mark.parametrize("machine_id", [None, "", "\n"])
def test_a_machine_without_one_is_known_by_its_name(
    machine_id: str | None, mark: Callable[[str | None, str], str]
) -> None:
    assert mark(machine_id, "here") == mark(machine_id, "here")
    assert mark(machine_id, "here") != mark(machine_id, "there")


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


@pytest.mark.usefixtures("forget")
def test_a_file_that_git_does_not_know_makes_a_checkout_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new encoder is one."""

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    here = tmp_path / "effbench/study/environment.py"
    here.parent.mkdir(parents=True)
    here.touch()
    for arguments in (["init"], ["add", "."], ["commit", "--message", "One file"]):
        git(*arguments)
    monkeypatch.setattr(environment, "__file__", str(here))
    head, dirty = environment.commit()
    assert re.fullmatch(r"[0-9a-f]{40}", head or "")
    assert dirty is False
    (tmp_path / "new.py").touch()
    environment.commit.cache_clear()
    assert environment.commit() == (head, True)

"""The environment that nox's sessions share is built once, and is never left half built."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


class FakeSession:
    """Stands in for nox.Session: writes down the commands, and fails at the one that contains `fails_at`."""

    def __init__(self, fails_at: str | None = None) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.fails_at = fails_at

    def log(self, message: str) -> None:
        pass

    def run(self, *command: str, external: bool, silent: bool = False) -> str:
        assert external
        self.commands.append(command)
        if self.fails_at in command:
            raise RuntimeError(f"{self.fails_at} failed")
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return "cpu-2c\n" if silent else ""

    def kinds(self) -> list[str]:
        return [kind for command in self.commands for kind in ("venv", "pip") if kind in command]


@pytest.fixture(scope="module")
def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("effbench_noxfile", ROOT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def noxfile(loaded: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The noxfile, taking a copy of the requirements for the checkout's."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.setattr(loaded, "ROOT", tmp_path)
    return loaded


def prepare(noxfile: ModuleType, fails_at: str | None = None) -> list[str]:
    session = FakeSession(fails_at)
    try:
        noxfile.prepare(session, noxfile.ROOT / "environment")
    except RuntimeError:
        assert fails_at is not None
    return session.kinds()


def test_is_built_once(noxfile: ModuleType) -> None:
    assert prepare(noxfile) == ["venv", "pip"]
    assert prepare(noxfile) == []


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_interrupted_install_is_built_anew(noxfile: ModuleType, step: str) -> None:
    prepare(noxfile, fails_at=step)
    assert prepare(noxfile) == ["venv", "pip"]


def test_interrupted_update_is_built_anew_even_if_the_change_is_taken_back(noxfile: ModuleType) -> None:
    prepare(noxfile)
    constraints = noxfile.ROOT / "constraints.txt"
    before = constraints.read_text()
    constraints.write_text(before + "extra==1.0\n")
    assert prepare(noxfile, fails_at="pip") == ["pip"]
    constraints.write_text(before)
    assert prepare(noxfile) == ["venv", "pip"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed_on_top(noxfile: ModuleType, name: str) -> None:
    prepare(noxfile)
    with (noxfile.ROOT / name).open("a") as file:
        file.write("# changed\n")
    assert prepare(noxfile) == ["pip"]


def test_other_python_gets_a_new_environment(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(noxfile)
    monkeypatch.setattr(noxfile.platform, "python_version", lambda: "3.99.0")
    assert prepare(noxfile) == ["venv", "pip"]


def test_sessions_pass_their_arguments_on(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(noxfile, "ENVIRONMENT", tmp_path / "environment")
    session = FakeSession()
    session.posargs = ["--data-root", "X"]  # type: ignore[attr-defined]
    for suite in ("coco", "cityscapes", "eco", "kernels"):
        getattr(noxfile, f"{suite}_suite")(session)
        program, *arguments = session.commands[-1]
        assert Path(program) == tmp_path / "environment" / "bin" / "effbench"
        assert arguments == ["run", suite, "--data-root", "X"]
    noxfile.kernels_gpu(session)
    assert session.commands[-1][1:] == ("-m", "effbench.suites.kernels_gpu", "--data-root", "X")


def test_benchmarks_leave_a_file_of_each_fresh_process(
    noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(noxfile, "ENVIRONMENT", tmp_path / "environment")
    session = FakeSession()
    session.posargs = ["-k", "fpn"]  # type: ignore[attr-defined]
    noxfile.bench(session)
    (folder,) = (tmp_path / "results/cpu-2c/benchmarks").iterdir()
    runs = [command[1:] for command in session.commands if Path(command[0]).name == "pytest"]
    assert runs == [
        ("tests/benchmarks", "-m", "benchmark", f"--benchmark-json={folder}/{number}.json", "-k", "fpn")
        for number in range(1, 6)
    ]

"""The files around the code agree with it and with each other: versions, requirements, links, CI, wheel."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import effbench

ROOT = Path(__file__).parents[1]
checkout_only = pytest.mark.skipif(
    (ROOT / "PKG-INFO").is_file(), reason="an unpacked source distribution has no links and no git files"
)


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_version_is_the_same_everywhere(project: dict) -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited[1] == project["project"]["version"] == effbench.__version__


def test_constraints_satisfy_every_requirement(project: dict) -> None:
    extras = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *extras["test"], *extras["lint"]]
    lines += project["build-system"]["requires"]
    for requirement in map(Requirement, lines):
        pinned = pins().get(canonicalize_name(requirement.name))
        assert pinned is not None, f"constraints.txt does not pin {requirement.name}"
        assert pinned in requirement.specifier, f"constraints.txt pins {pinned}, pyproject.toml wants {requirement}"


def test_constraints_name_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
        assert "://" not in line
        assert "file:" not in line


@checkout_only
@pytest.mark.parametrize("name", ["encoders", "kernels", "suites"])
def test_link_is_relative_and_leads_to_the_top_level_folder(name: str) -> None:
    link = ROOT / "effbench" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name


def test_kernels_is_no_regular_package() -> None:
    assert not (ROOT / "effbench" / "kernels" / "__init__.py").exists()


def test_console_script_exists(project: dict) -> None:
    module, _, function = project["project"]["scripts"]["effbench"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_ci_runs_the_documented_commands_and_nothing_more() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line.startswith("nox")]
    assert commands == ["nox -s tests", "nox -s lint"]
    assert "nox -s tests" in (ROOT / "README.md").read_text()


@checkout_only
@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("results/cpu-8c/coco/quick/records.jsonl", True),
        ("results/published/claims.csv", False),
        ("results/README.md", False),
        (".nox/effbench/bin/python", True),
        ("build/lib/effbench/cli.py", True),
        ("effbench.egg-info/PKG-INFO", True),
        ("effbench/cli.py", False),
        ("encoders/contract.py", False),
    ],
)
def test_git_ignores_results_of_runs_and_build_leftovers(path: str, ignored: bool, tmp_path: Path) -> None:
    # In a repository of its own: the answer must not depend on what is committed here.
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    answer = subprocess.run(["git", "-C", tmp_path, "check-ignore", "--quiet", "--no-index", path])
    assert answer.returncode == (0 if ignored else 1)


@pytest.fixture(scope="module")
def wheel(project: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a clean copy: a `build/` left by an earlier wheel would bring back deleted modules."""
    for requirement in map(Requirement, project["build-system"]["requires"]):
        found = installed_version(requirement.name)
        assert found in requirement.specifier, f"building needs {requirement}, installed is {found}"
    copy = tmp_path_factory.mktemp("wheel") / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("effbench", "encoders", "kernels", "suites"):
        if (ROOT / name).is_dir():  # a source distribution has real folders in effbench/ only
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, "dist"], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("effbench-*.whl")
    return built


def test_wheel_holds_every_file_of_the_package_once(wheel: Path) -> None:
    source = {
        str(Path(folder, name).relative_to(ROOT))
        for folder, _, files in os.walk(ROOT / "effbench", followlinks=True)
        for name in files
        if not name.endswith((".pyc", ".md"))
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = [entry for entry in archive.namelist() if ".dist-info/" not in entry]
    assert "effbench/py.typed" in source
    assert sorted(packed) == sorted(source)

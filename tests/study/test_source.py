"""The hash of the source that a cell runs: every file that it imports, and no other."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench.study.source import closure, source_hash

Touch = Callable[[str], None]

FILES = {
    "__init__.py": "",
    "start.py": "import json\nimport numpy\nfrom {0}.near import thing\n",
    "near.py": "def late():\n    import {0}.deep.leaf\nthing = 1\n",
    "deep/__init__.py": "",
    "deep/leaf.py": "from {0} import other\nfrom .sibling import thing\nfrom .. import uncle\n",
    "deep/sibling.py": "thing = 1\n",
    "uncle.py": "",
    "other.py": "import {0}.start\n",  # a circle
    "unrelated.py": "from {0} import near\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a name of its own, since files are looked up once per process."""
    name = f"package_of_{tmp_path.name}"
    for file, text in FILES.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return name


@pytest.fixture
def touch(tmp_path: Path, package: str) -> Touch:
    """Append a comment to a file of the package."""

    def change(file: str) -> None:
        with (tmp_path / package / file).open("a") as opened:
            opened.write("# changed\n")

    return change


def test_the_closure_follows_imports_inside_the_package(package: str) -> None:
    found = {name.removeprefix(f"{package}.") for name in closure([f"{package}.start"])}
    assert {"start", "near", "deep.leaf", "other"} <= found
    assert "unrelated" not in found
    assert not any(name.startswith(("json", "numpy")) for name in found)


def test_the_hash_is_stable(package: str) -> None:
    first = source_hash([f"{package}.start"])
    assert len(first) == 16 and int(first, 16) >= 0
    assert source_hash([f"{package}.start"]) == first


@pytest.mark.parametrize("file", ["start.py", "near.py", "deep/leaf.py", "other.py"])
def test_a_changed_file_of_the_closure_changes_the_hash(file: str, package: str, touch: Touch) -> None:
    before = source_hash([f"{package}.start"])
    touch(file)
    assert source_hash([f"{package}.start"]) != before


@pytest.mark.parametrize("file", ["deep/sibling.py", "uncle.py"])
def test_a_file_that_is_imported_relatively_counts_too(file: str, package: str, touch: Touch) -> None:
    """An encoder of another package may import its neighbours as `from .layers import X`."""
    before = source_hash([f"{package}.start"])
    touch(file)
    assert source_hash([f"{package}.start"]) != before


def test_an_unrelated_file_does_not(package: str, touch: Touch) -> None:
    before = source_hash([f"{package}.start"])
    touch("unrelated.py")
    assert source_hash([f"{package}.start"]) == before


def test_an_encoder_of_another_package_depends_on_what_it_takes_from_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys_deformable.py").write_text("from effbench.encoders.deformable import MSDeformAttn\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert "effbench.encoders.deformable" in closure(["effbench.study.worker", "somebodys_deformable"])


@pytest.mark.parametrize(
    ("encoder", "others"),
    [("fpn", ["mask2former", "proscale"]), ("mask2former", ["fpn", "proscale"]), ("proscale", ["fpn"])],
)
def test_a_cell_depends_on_its_own_encoder_and_not_on_the_rest(encoder: str, others: list[str]) -> None:
    modules = closure(["effbench.study.worker", "effbench.probes.quality", f"effbench.encoders.{encoder}"])
    assert f"effbench.encoders.{encoder}" in modules
    assert not {f"effbench.encoders.{other}" for other in others} & modules.keys()
    shared = ("encoders.contract", "encoders.layers", "models.segmenter", "training.trainer", "quality.panoptic")
    assert {f"effbench.{name}" for name in shared} <= modules.keys()


def test_no_cell_depends_on_how_its_report_is_written() -> None:
    modules = closure(["effbench.study.worker", "effbench.probes.quality", "effbench.encoders.fpn"])
    assert not any(name.startswith(("effbench.report", "effbench.cli", "effbench.suites")) for name in modules)

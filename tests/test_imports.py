"""The folders import each other along a few arrows only, from one import root; every other import fails here.

A new arrow is a decision about the layout: write it into `LAYERS` and the contributors' guide, or not at all.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LINKED = ("encoders", "kernels", "suites")
FORBIDDEN = {*LINKED, "tests"}  # as top-level names: the folders are effbench.encoders and so on


class Layer(NamedTuple):
    """What a part of effbench may import of effbench, besides itself."""

    modules: frozenset[str] = frozenset()  # these, and nothing below them
    packages: tuple[str, ...] = ()  # these and everything below
    libraries: frozenset[str] | None = None  # outside the standard library; None: any


LAYERS = {
    "effbench.kernels": Layer(libraries=frozenset({"torch", "triton"})),
    "effbench.encoders": Layer(packages=("effbench.kernels",)),
    "effbench.suites": Layer(modules=frozenset({"effbench.errors"}), packages=("effbench.study",)),
    # The harness: it knows no encoder by name, but shares the blocks that belong to none of them.
    "effbench": Layer(
        modules=frozenset(
            {
                "effbench.encoders",
                *(f"effbench.encoders.{name}" for name in ("contract", "layers", "registry")),
            }
        )
    ),
}
# Modules of the harness that may do more: one finds suites by name, doctor asks kernels what can run, and peers holds
# them against other implementations.
EXCEPTIONS = {
    "effbench.study.suite": Layer(modules=frozenset({"effbench.suites"})),
    "effbench.doctor": Layer(packages=("effbench.kernels",)),
    "effbench.peers.own": Layer(packages=("effbench.kernels",)),
}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def layer_of(module: str) -> str:
    return next((layer for layer in LAYERS if within(module, layer) and layer != "effbench"), "effbench")


def is_legal(importer: str, target: str) -> bool:
    top = target.partition(".")[0]
    if top in FORBIDDEN:
        return False
    if not within(importer, "effbench"):
        return True  # the tests
    own = layer_of(importer)
    if top != "effbench":
        libraries = LAYERS[own].libraries
        return libraries is None or top in libraries or top in sys.stdlib_module_names
    if layer_of(target) == own:
        return True
    rules = [LAYERS[own], EXCEPTIONS.get(importer, Layer())]
    return any(target in rule.modules or any(within(target, p) for p in rule.packages) for rule in rules)


def imports_of(source: str, module: str, is_package: bool, known: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, full name) of everything imported, also by `import_module` with a literal name."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                origin = importlib.util.resolve_name("." * level + (base or ""), package)
                for alias in names:
                    submodule = f"{origin}.{alias.name}"
                    yield node.lineno, submodule if submodule in known else origin
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, importlib.util.resolve_name(name, package)


def modules_under(root: Path, top: str) -> dict[str, Path]:
    """Map dotted names to files, through the links."""
    found = {}
    for folder, _, files in os.walk(root / top, followlinks=True):
        for file in (Path(folder, name) for name in files if name.endswith(".py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def breaches(root: Path) -> list[str]:
    modules = modules_under(root, "effbench") | modules_under(root, "tests")
    known = set(modules) | {name.rpartition(".")[0] for name in modules}  # kernels/ has no __init__.py
    found = [
        f"{file.relative_to(root)}:{line}: {name} imports {target}"
        for name, file in sorted(modules.items())
        for line, target in imports_of(file.read_text(), name, file.name == "__init__.py", known)
        if not is_legal(name, target)
    ]
    return list(dict.fromkeys(found))  # one line may import several names from one module


def test_every_import_follows_an_arrow() -> None:
    scanned = modules_under(ROOT, "effbench")
    assert {layer_of(module) for module in scanned} == set(LAYERS), "a folder was not scanned"
    assert breaches(ROOT) == []


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree with the real one's shape, links included, and no breach."""
    (tmp_path / "effbench").mkdir()
    for name in LINKED:
        (tmp_path / name).mkdir()
        (tmp_path / "effbench" / name).symlink_to(f"../{name}")
    plant(tmp_path, {"effbench.probes.latency": "", "effbench.study.cell": "", "effbench.errors": ""})
    plant(
        tmp_path,
        {"effbench.encoders.registry": "", "effbench.encoders.proscale": "", "effbench.suites.coco": ""},
    )
    plant(tmp_path, {"effbench.kernels.op": ""})
    assert breaches(tmp_path) == []
    return tmp_path


def plant(root: Path, sources: Mapping[str, str]) -> None:
    for module, source in sources.items():
        file = root.joinpath(*module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)


@pytest.mark.parametrize(
    ("module", "source", "target"),
    [
        ("effbench.report.tables", "import effbench.encoders.proscale", "effbench.encoders.proscale"),
        ("effbench.report.tables", "from effbench.encoders import proscale", "effbench.encoders.proscale"),
        ("effbench.report.tables", "from ..encoders.proscale import x", "effbench.encoders.proscale"),
        ("effbench.report.tables", "from .. import kernels", "effbench.kernels"),
        ("effbench.report.tables", "def f():\n    import effbench.suites.coco", "effbench.suites.coco"),
        ("effbench.study.suite", "import_module('effbench.suites.coco')", "effbench.suites.coco"),
        (
            "effbench.cli",
            "importlib.import_module('effbench.encoders.proscale')",
            "effbench.encoders.proscale",
        ),
        ("effbench.doctor", "import effbench.encoders.proscale", "effbench.encoders.proscale"),
        ("effbench.encoders.fpn", "from effbench.probes import latency", "effbench.probes.latency"),
        ("effbench.encoders.fpn", "if TYPE_CHECKING:\n    import effbench.study.cell", "effbench.study.cell"),
        ("effbench.encoders.fpn", "import effbench", "effbench"),
        ("effbench.encoders.fpn", "import encoders.registry", "encoders.registry"),
        ("effbench.kernels.fast", "from effbench.encoders import registry", "effbench.encoders.registry"),
        ("effbench.kernels.fast", "from effbench.errors import InputError", "effbench.errors"),
        ("effbench.kernels.fast", "import numpy as np", "numpy"),
        ("effbench.suites.kernels", "import effbench.probes.latency", "effbench.probes.latency"),
        ("effbench.suites.kernels", "import effbench.kernels.op", "effbench.kernels.op"),
        ("effbench.study.runner", "from tests.conftest import fixed_seeds", "tests.conftest"),
        ("effbench.study.runner", "import kernels", "kernels"),
        ("tests.test_x", "from suites import coco", "suites"),
    ],
)
def test_planted_breach_is_found(house: Path, module: str, source: str, target: str) -> None:
    plant(house, {module: source})
    (found,) = breaches(house)
    assert found.endswith(f": {module} imports {target}")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("effbench.report.tables", "from effbench.encoders.registry import build_encoder\nimport pandas"),
        ("effbench.report.tables", "from effbench import encoders\nfrom effbench.study import cell"),
        (
            "effbench.study.suite",
            "import_module('effbench.suites')\nimport_module(f'effbench.suites.{name}')",
        ),
        ("effbench.doctor", "from effbench.kernels import op"),
        ("effbench.encoders.fpn", "from effbench.kernels.op import f\nfrom . import registry\nimport torch"),
        (
            "effbench.kernels.fast",
            "import math\nimport torch\nimport triton.language as tl\nfrom . import op",
        ),
        (
            "effbench.suites.kernels",
            "from effbench.study.cell import Cell\nfrom effbench.errors import InputError",
        ),
        ("tests.test_x", "from effbench.encoders import proscale\nimport effbench.suites.coco"),
    ],
)
def test_legal_import_is_no_breach(house: Path, module: str, source: str) -> None:
    plant(house, {module: source})
    assert breaches(house) == []


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter, the repository root first on its path, and return its output."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_effbench_is_light() -> None:
    heavy = ["torch", "timm", "triton", "matplotlib", "pandas", "scipy"]
    code = "import json, sys, effbench; print(json.dumps([m for m in sys.argv[1:] if m in sys.modules]))"
    assert json.loads(python(code, *heavy)) == []


def test_no_folder_is_imported_under_a_bare_name() -> None:
    names = sorted(name for name in modules_under(ROOT, "effbench") if not name.endswith("__main__"))
    if sys.platform != "linux":  # Triton has no wheels elsewhere
        names = [name for name in names if "triton" not in name]
    code = (
        "import importlib, json, sys\n"
        "for name in ['effbench', 'effbench.cli', *sys.argv[1:]]: importlib.import_module(name)\n"
        f"print(json.dumps([m for m in {LINKED} if m in sys.modules]))"
    )
    assert json.loads(python(code, *names).splitlines()[-1]) == []


def test_a_regular_package_called_kernels_wins_at_the_repository_root(tmp_path: Path) -> None:
    """transformers loads this very operator from a package `kernels`, and must find it in a checkout too."""
    fake = tmp_path / "kernels" / "__init__.py"
    fake.parent.mkdir()
    fake.touch()
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r}); sys.path.append({str(tmp_path)!r})\n"
        "import kernels; print(kernels.__file__)"
    )
    assert python(code).strip() == str(fake)

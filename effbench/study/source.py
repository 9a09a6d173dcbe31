"""Which source files a cell runs, as a hash: a changed encoder is measured anew, an unrelated edit is not.

The files are the static import closure of the modules a cell starts from, within their own packages.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path


def source_hash(modules: Iterable[str]) -> str:
    """16 hexadecimal digits over the names and texts of all modules that `modules` import, themselves included."""
    digest = hashlib.sha256()
    for name, path in sorted(closure(modules).items()):
        digest.update(f"{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def closure(modules: Iterable[str]) -> dict[str, Path]:
    """module name -> file, for `modules` and what they import from their own top-level packages."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    own = {name.partition(".")[0] for name in waiting}
    while waiting:
        name = waiting.pop()
        path = None if name in found else _file(name)
        if path is None:
            continue
        found[name] = path
        waiting += [imported for imported in _imports(name, path) if imported.partition(".")[0] in own]
    return found


@cache
def _file(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ModuleNotFoundError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.has_location else None


@cache
def _imports(module: str, path: Path) -> tuple[str, ...]:
    """Names that a module imports; `from a import b` gives both a and a.b, since b may be a module."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(names))

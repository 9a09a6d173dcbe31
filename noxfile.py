"""The project's commands, each from one environment that nox cannot share by itself.

nox gives every session an environment of its own; with PyTorch in it each would take about 5 GB. So the
sessions run without one (`default_venv_backend = "none"`) and call the executables of `.nox/effbench`, which
the first session makes. The environment from which nox is called needs nothing but nox.
"""

from __future__ import annotations

import hashlib
import platform
import sys
import time
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests", "lint"]

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".nox" / "effbench"
BENCHMARK_PROCESSES = 5


@nox.session
def coco_suite(session: nox.Session) -> None:
    """Run the COCO study and write its report; options of `effbench run` follow: -- --data-root PATH."""
    run(session, "effbench", "run", "coco", *session.posargs)


@nox.session
def cityscapes_suite(session: nox.Session) -> None:
    """Count the systems at Cityscapes' size; options of `effbench run` follow: -- --data-root PATH."""
    run(session, "effbench", "run", "cityscapes", *session.posargs)


@nox.session
def eco_suite(session: nox.Session) -> None:
    """Run the early-exit study on the embedded set; options of `effbench run` follow: -- --system NAME."""
    run(session, "effbench", "run", "eco", *session.posargs)


@nox.session
def kernels_suite(session: nox.Session) -> None:
    """Time the operator against its peers on the CPU; options of `effbench run` follow: -- --system cpu."""
    run(session, "effbench", "run", "kernels", *session.posargs)


@nox.session
def kernels_gpu(session: nox.Session) -> None:
    """Time the operator against its peers on a GPU, many cells to a process: -- --minutes 8 --profile gpu."""
    run(session, "python", "-m", "effbench.suites.kernels_gpu", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; options of pytest follow: -- -m slow."""
    run(session, "pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time encoders, operator, MAC table and PQ for `effbench compare`; options of pytest follow: -- -k fpn."""
    prepare(session, ENVIRONMENT)
    say = "from effbench.study.environment import machine; print(machine())"
    machine = session.run(str(ENVIRONMENT / "bin" / "python"), "-c", say, external=True, silent=True)
    folder = ROOT / "results" / str(machine).split()[-1] / "benchmarks" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder.mkdir(parents=True)
    for process in range(1, BENCHMARK_PROCESSES + 1):  # what a comparison replicates is the process
        file = f"--benchmark-json={folder / f'{process}.json'}"
        run(session, "pytest", "tests/benchmarks", "-m", "benchmark", file, *session.posargs)
    session.log(f"Compare with another folder beside it: effbench compare BEFORE {folder}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting and types."""
    run(session, "ruff", "check", ".")  # not "effbench": ruff does not follow the links in it
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")


def run(session: nox.Session, program: str, *arguments: str) -> None:
    """Run a program of the shared environment, which is brought up to date first."""
    prepare(session, ENVIRONMENT)
    session.run(str(ENVIRONMENT / "bin" / program), *arguments, external=True)


def prepare(session: nox.Session, environment: Path) -> None:
    """Make `environment` hold this project and its constraints; a no-op where it does already.

    The marker goes before anything is changed and comes back last. Where it is missing, the environment is
    new or was left by an interrupted install, and is built from nothing: pip cannot mend a package that it
    left half written. So it is for another Python or a moved checkout; new requirements are put on top.
    """
    marker = environment / "installed-from"
    place = f"Python {platform.python_version()} in {environment}"
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    wanted = [place, hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()]
    found = marker.read_text().splitlines() if marker.is_file() else []
    python = environment / "bin" / "python"
    if found == wanted and python.is_file():
        return
    marker.unlink(missing_ok=True)
    session.log(f"Installing into {environment} (with PyTorch, about 5 GB the first time)")
    if found[:1] != [place] or not python.is_file():
        session.run(sys.executable, "-m", "venv", "--clear", str(environment), external=True)
    install = ["-m", "pip", "install", "--constraint", str(files[1]), "--editable", f"{ROOT}[test,lint]"]
    session.run(str(python), *install, external=True)
    marker.write_text("\n".join(wanted))

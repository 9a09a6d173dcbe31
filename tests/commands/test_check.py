"""`effbench check`: an encoder by name, by module and class, and from an installed package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from effbench.conformance.kit import CHECKS, EXIT_CHECKS
from effbench.conformance.subject import find_subject
from effbench.encoders import registry
from effbench.encoders.registry import registered
from effbench.errors import InputError

NARROW = ["--set", "dim=32"]
WIDER = """
from effbench.encoders.fpn import FPNEncoder
class Wider(FPNEncoder):
    "A pyramid network with a width of its own."
    def __init__(self, features, *, width=1):
        if not isinstance(width, int):
            raise ValueError(f"width={width!r}, expected an integer")
        super().__init__(features, dim=64 * width, mask_dim=32)
class Noisy(Wider):
    "The same, with dropout in evaluation, too."
    def forward(self, features):
        from torch.nn.functional import dropout
        return super().forward({name: dropout(x) for name, x in features.items()})
helper = 1
"""


@pytest.fixture
def somebodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module `somebodys_net` in it; what is registered meanwhile is gone afterwards."""
    monkeypatch.setattr(registry, "_registered", dict(registered()))
    monkeypatch.setattr(registry, "_entry_points", dict(registry._entry_points))
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "somebodys_net.py").write_text(WIDER)
    importlib.invalidate_caches()
    yield tmp_path
    for module in ("somebodys_net", "broken_net"):
        sys.modules.pop(module, None)


def test_a_registered_encoder_passes(effbench: Callable) -> None:
    answer = effbench("check", "fpn", *NARROW)
    assert answer.code == 0
    assert all(one.name in answer.out for one in CHECKS if one not in EXIT_CHECKS)
    assert answer.out.splitlines()[-1] == "All checks passed"


def test_json_says_everything(effbench: Callable) -> None:
    answer = effbench("check", "fpn", *NARROW, "--set", "mask_dim=8", "--backbone", "resnet18", "--json").last
    assert answer["conforms"] is True
    assert (answer["encoder"], answer["backbone"]) == ("fpn", "resnet18")
    assert answer["settings"] == {"dim": 32, "mask_dim": 8, "embedding": "conv"}
    assert {(one["check"], one["status"]) for one in answer["checks"]} >= {("shapes", "ok"), ("macs", "ok")}


@pytest.mark.usefixtures("somebodys")
def test_a_class_of_a_module_in_the_current_folder(effbench: Callable) -> None:
    answer = effbench("check", "somebodys_net:Wider", "--set", "width=2", "--json")
    assert (answer.code, answer.last["conforms"]) == (0, True)
    assert answer.last["settings"] == {"width": 2}


@pytest.mark.usefixtures("somebodys")
def test_a_failed_check_says_what_was_found_what_is_wanted_and_how_to_mend_it(effbench: Callable) -> None:
    answer = effbench("check", "somebodys_net:Noisy")
    assert answer.code == 1
    (line,) = [line for line in answer.out.splitlines() if line.startswith("- ")]
    assert line.startswith("- determinism: of two equal calls, mask_features differs by up to ")
    assert "; expected the same output for the same input and seed" in line and "(if self.training)" in line
    assert "skipped, needs determinism" in answer.out
    assert answer.out.splitlines()[-1] == "1 of 16 checks failed, 7 skipped"
    last = effbench("check", "somebodys_net:Noisy", "--json")
    assert (last.code, last.last["conforms"]) == (1, False)
    (failed,) = [one for one in last.last["checks"] if one["status"] == "failed"]
    assert failed["check"] == "determinism" and failed["found"] and failed["wants"] and failed["mend"]


def test_an_encoder_of_an_installed_package(
    effbench: Callable, somebodys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = somebodys / "site-packages"
    info = site / "somebodys_net-1.0.dist-info"
    info.mkdir(parents=True)
    (somebodys / "somebodys_net.py").rename(site / "somebodys_net.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-net\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[effbench.encoders]\nwider = somebodys_net:Wider\n")
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    assert effbench("check", "wider", "--json").last["conforms"] is True


@pytest.mark.usefixtures("somebodys")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fnp"], "no encoder is called 'fnp'; did you mean fpn?"),
        (["nobodys_net:Wider"], "module nobodys_net cannot be imported (ModuleNotFoundError: No module named"),
        (["somebodys_net:wider"], "has no 'wider'; did you mean Wider"),
        (["somebodys_net:helper"], "somebodys_net:helper is 1; expected a class derived from"),
        (["somebodys_net:"], "'somebodys_net:' names no class; expected MODULE:CLASS"),
        (["somebodys_net:Wider", "--set", "widht=2"], "has no setting 'widht'; did you mean width?"),
        (["somebodys_net:Wider", "--set", "width=x"], "setting width='x'; expected a value like its default 1"),
        (["fpn", "--set", "dim=33"], "fpn cannot be built with dim=33: dim=33 is not divisible"),
        (["fpn", "--backbone", "resnot18"], "no backbone is called 'resnot18'"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_bad_input_is_one_line(refused: Callable, arguments: list[str], said: str) -> None:
    assert said in refused("check", *arguments)


def test_a_module_that_fails_is_named(somebodys: Path) -> None:
    (somebodys / "broken_net.py").write_text("1 / 0")
    with pytest.raises(InputError, match=r"broken_net cannot be imported \(ZeroDivisionError: division by zero\)"):
        find_subject("broken_net:Net")


@pytest.mark.usefixtures("somebodys")
def test_the_current_folder_hides_no_installed_package() -> None:
    find_subject("somebodys_net:Wider")
    assert sys.path[-1] == str(Path.cwd())


@pytest.mark.parametrize(("settings", "expected"), [([], 128), (["mask_dim=256"], 256), (["dim=64"], None)])
def test_mask_dim_differs_from_dim_unless_it_was_chosen(settings: list[str], expected: int | None) -> None:
    assert find_subject("fpn", settings).settings.get("mask_dim") == expected

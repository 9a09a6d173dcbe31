"""The command line: its help, `effbench list` and `effbench macs`, and one clear line for what these cannot use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.encoders.registry import registered
from effbench.probes.mac_count import CONVENTIONS

SMALL = ("--backbone", "resnet_mini", "--size", "64x96")


Call = Callable[..., Any]
Refused = Callable[..., str]


# --- help ------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "list": ["--json"],
    "run": ["--profile", "--data-root", "--limit", "--system", "--results", "--retry-failed", "--dry-run", "--json"],
    "report": ["--profile", "--data-root", "--limit", "--system", "--results"],
    "macs": ["--set", "--backbone", "--size", "--classes", "--queries", "--json"],
    "train": [
        *("--out", "--data-root", "--dataset", "--set", "--backbone", "--queries", "--steps", "--batch-size", "--crop"),
        *("--learning-rate", "--sampling", "--augmentation", "--exit-loss", "--workers", "--seed"),
    ],
    "eval": ["--data-root", "--dataset", "--limit", "--short", "--object-threshold", "--exit", "--export", "--json"],
    "derive": ["--data-root", "--dataset", "--limit", "--split", "--short", "--object-threshold", "--json"],
    "gate": ["--beta", "--k", "--loss", "--json"],
}


def test_help_names_every_command(effbench: Call) -> None:
    answer = effbench("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in OPTIONS)


@pytest.mark.parametrize("command", OPTIONS)
def test_help_of_a_command_names_its_options(command: str, effbench: Call) -> None:
    answer = effbench(command, "--help")
    assert answer.code == 0
    for option in OPTIONS[command]:
        assert option in answer.out


def test_no_command_shows_the_help(effbench: Call) -> None:
    answer = effbench()
    assert "macs" in answer.out + answer.err


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("macs",), ("macs", "fpn", "--colour", "red"), ("train", "fpn"), ("gate", "folder")]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], effbench: Call) -> None:
    answer = effbench(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err


# --- list and macs ---------------------------------------------------------------------------------------------------


def test_list_as_json(effbench: Call) -> None:
    answer = effbench("list", "--json")
    assert answer.code == 0
    assert answer.last["encoders"].keys() == registered().keys()
    assert answer.last["encoders"]["proscale"]["p"] == [3, 3, 3]
    assert {"r50", "swin_t", "swin_l"} <= set(answer.last["backbones"])
    assert answer.last["suites"].keys() == {"cityscapes", "coco", "eco", "kernels"}


def test_list_for_reading(effbench: Call) -> None:
    answer = effbench("list")
    assert answer.code == 0
    for name in (*registered(), "recalibration=released", "swin_t", "Suite coco"):
        assert name in answer.out


COMPONENTS = {"backbone", "encoder", "decoder", "post_processing", "other", "total"}


def test_macs_as_json_has_the_documented_keys(effbench: Call) -> None:
    answer = effbench("macs", "proscale", "--set", "p=1,1,1", *SMALL, "--json")
    assert answer.code == 0
    keys = {"system", "settings", "backbone", "size", "classes", "queries", "unit", *CONVENTIONS, "left_out"}
    assert answer.last.keys() == keys
    assert answer.last["papers"].keys() == answer.last["complete"].keys() == COMPONENTS
    assert (answer.last["system"], answer.last["unit"]) == ("proscale", "GMAC")
    assert (answer.last["backbone"], answer.last["size"]) == ("resnet_mini", "64x96")
    assert answer.last["settings"]["p"] == [1, 1, 1]
    assert answer.last["settings"]["dim"] == 256, "defaults are said, too"
    for convention in CONVENTIONS:
        parts = dict(answer.last[convention])
        assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert answer.last["complete"]["encoder"] > answer.last["papers"]["encoder"]
    missed = answer.last["complete"]["total"] - answer.last["papers"]["total"]
    assert missed == pytest.approx(sum(answer.last["left_out"].values()))


@pytest.mark.parametrize("size", ["1024x2048", "cityscapes"])
def test_macs_gives_the_papers_figure(size: str, effbench: Call) -> None:
    answer = effbench("macs", "proscale", "--set", "p=1,1,1", "--backbone", "swin_t", "--size", size, "--json")
    assert answer.last["papers"]["encoder"] == pytest.approx(55.14, rel=1e-3)
    assert answer.last["classes"] == 19


@pytest.mark.parametrize(
    ("arguments", "classes", "queries"),
    [
        (SMALL, 133, 100),
        ((*SMALL, "--classes", 7, "--queries", 5), 7, 5),
        (("--backbone", "swin_l", "--size", "64x64"), 133, 200),
    ],
)
def test_classes_and_queries_follow_size_and_backbone(
    arguments: tuple[object, ...], classes: int, queries: int, effbench: Call
) -> None:
    answer = effbench("macs", "fpn", *arguments, "--json")
    assert (answer.last["classes"], answer.last["queries"]) == (classes, queries)


def test_more_classes_cost_more(effbench: Call) -> None:
    few, many = (effbench("macs", "fpn", *SMALL, "--classes", n, "--json").last["papers"] for n in (10, 100))
    assert few["encoder"] == many["encoder"]
    assert few["decoder"] < many["decoder"]
    assert few["post_processing"] < many["post_processing"]


def test_macs_for_reading(effbench: Call) -> None:
    answer = effbench("macs", "fpn", *SMALL)
    assert answer.code == 0
    assert all(word in answer.out for word in (*COMPONENTS, *CONVENTIONS, "GMACs", "papers leaves out: "))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["proscal"], ["no encoder is called 'proscal'", "did you mean proscale", "known: "]),
        (["fpn", "--backbone", "resnet5"], ["no backbone is called 'resnet5'", "did you mean resnet5"]),
        (["fpn", "--backbone", "zzz"], ["no backbone is called 'zzz'", "r50"]),
        (["fpn", "--backbone", "vit_base_patch16_224"], ["strides [16]", "expected [4, 8, 16, 32]"]),
        (["proscale", "--set", "p=0,0,0"], ["p=(0, 0, 0)"]),
        (["proscale", "--set", "p=1,1"], ["p=(1, 1)"]),
        (["proscale", "--set", "p=-1,1,1"], ["p=(-1, 1, 1)"]),
        (["mask2former", "--set", "dim=100"], ["dim=100", "8"]),
        (["mask2former", "--set", "heads=3"], ["dim=256", "heads=3"]),
        (["mask2former", "--set", "dim=0"], ["dim=0"]),
        (["mask2former", "--set", "layers=0"], ["layers=0"]),
        (["fpn", "--set", "dim=33"], ["dim=33", "32"]),
        (["fpn", "--set", "embedding=maxpool"], ["embedding='maxpool'", "max_pool"]),
        (["proscale", "--set", "recalibration=on"], ["recalibration='on'", "released"]),
        (["mask2former", "--set", "impl=cuda"], ["cuda", "reference"]),
        (["proscale", "--set", "p"], ["expected NAME=VALUE"]),
        (["proscale", "--set", "p=a,b,c"], ["setting p='a,b,c'"]),
        (["proscale", "--set", "embeding=conv"], ["no setting 'embeding'", "did you mean embedding"]),
        (["fpn", "--set", "heads=4"], ["fpn has no setting 'heads'"]),
        (["fpn", "--size", "1024"], ["size '1024'", "expected HxW"]),
        (["fpn", "--size", "0x64"], ["size '0x64'"]),
        (["fpn", "--size", "large"], ["size 'large'"]),
        (["fpn", "--size", "coco:first0"], ["1 to 100"]),
        (["fpn", "--size", "coco:first101"], ["1 to 100"]),
    ],
)
def test_macs_refuses_in_one_line(arguments: list[str], parts: list[str], refused: Refused) -> None:
    line = refused("macs", *arguments)
    assert all(part in line for part in parts), line


def test_the_real_process_prints_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "effbench.cli", "run", "coco", "--data-root", "/nonexistent"]
    root = str(Path(__file__).parents[1])
    done = subprocess.run([*command, "--results", str(tmp_path / "results")], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: /nonexistent not found; expected the folder of coco there")
    assert not (tmp_path / "results").exists()

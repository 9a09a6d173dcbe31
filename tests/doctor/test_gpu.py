"""What doctor makes of nvidia-smi's answers, on one that is made here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from effbench.doctor.gpu import FIELDS, gpu_distortions

ROW = ("345", "1980", "0x0000000000000001", "41", "120.50", "700.00", "Enabled")
Smi = Callable[..., None]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """One GPU, and an nvidia-smi that answers with a row of `FIELDS` and with processes."""

    def put(row: tuple[str, ...], pids: tuple[int, ...] = ()) -> None:
        script = tmp_path / "nvidia-smi"
        processes = "\\n".join(map(str, pids))
        script.write_text(
            f"#!/bin/sh\ncase \"$*\" in *compute-apps*) printf '{processes}\\n';; *) echo '{', '.join(row)}';; esac\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    return put


def test_an_idle_gpu_is_ok(smi: Smi) -> None:
    smi(ROW)
    assert gpu_distortions() == [
        ("cuda:0 processes", "ok", "none", ""),
        ("cuda:0 clocks", "ok", "345 of 1980 MHz now, 41 °C, 120.50 of 700.00 W", ""),
    ]


def test_processes_of_others_are_named(smi: Smi) -> None:
    smi(ROW, (77, os.getpid()))
    subject, status, found, mend = gpu_distortions()[0]
    assert (subject, status, found) == ("cuda:0 processes", "warning", "others compute on it: 77")
    assert mend


def test_a_gpu_that_is_slowed_down_says_why(smi: Smi) -> None:
    smi((*ROW[:2], "0x0000000000000024", *ROW[3:6], "Disabled"))
    clocks, persistence = gpu_distortions()[1:]
    assert clocks[1] == "warning" and "the power limit, heat (software limit)" in clocks[2]
    assert persistence[1] == "warning" and persistence[3] == "sudo nvidia-smi -pm 1"


@pytest.mark.parametrize("row", [(*ROW[:2], "[N/A]", *ROW[3:]), ("Unable to determine",)], ids=["field", "all"])
def test_what_the_driver_does_not_say_is_unknown(row: tuple[str, ...], smi: Smi) -> None:
    smi(row)
    assert gpu_distortions()[1][1] == "unknown"


def test_without_nvidia_smi_nothing_is_known(monkeypatch: pytest.MonkeyPatch, smi: Smi, tmp_path: Path) -> None:
    smi(ROW)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    (row,) = gpu_distortions()
    assert row[:2] == ("cuda:0", "unknown")


def test_without_a_gpu_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_distortions() == []


@pytest.mark.cuda
def test_a_real_gpu_answers() -> None:
    rows = gpu_distortions()
    assert len(FIELDS) == len(ROW) and {row[0] for row in rows} >= {"cuda:0 processes", "cuda:0 clocks"}

"""`effbench doctor`: what it prints, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from effbench import doctor
from effbench.doctor.distortions import Finding
from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS


@pytest.fixture(autouse=True)
def at_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine need not be watched for a second."""
    monkeypatch.setattr(doctor.distortions.time, "sleep", lambda seconds: None)


def test_json_says_what_runs_and_what_distorts(effbench: Callable) -> None:
    answer = effbench("doctor", "--json")
    assert answer.code == 0
    found = answer.last
    assert found.keys() == {"devices", "implementations", "peers", "distortions"}
    assert found["implementations"].keys() == found["devices"].keys()
    assert found["implementations"]["cpu"].keys() == {"auto", *IMPLEMENTATIONS}
    assert found["implementations"]["cpu"][found["implementations"]["cpu"]["auto"]] == "runs"
    subjects = [finding["subject"] for finding in found["distortions"]]
    expected = ["other processes", "frequency governor", "threads", "CPU quota", "swap", "memory"]
    assert subjects[: len(expected)] == expected
    for finding in found["distortions"]:
        assert finding["status"] in {"ok", "warning", "unknown"} and finding["found"]
        assert bool(finding["mend"]) == (finding["status"] != "ok")


def test_tables_hold_what_json_holds(effbench: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = Finding("swap", "warning", "[full]", "close programs")
    monkeypatch.setattr(doctor.distortions, "examine", lambda root, seconds: [finding])
    answer = effbench("doctor")
    assert answer.code == 0, "advice is no failure"
    for part in ("reference: runs", "float32: runs", "transformers", "[full]", "warning", "close programs"):
        assert part in answer.out


def test_an_implementation_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def why_not(impl: str, value: torch.Tensor) -> str | None:
        return f"needs a CUDA device, got {value.device}" if impl == "fast" else None

    monkeypatch.setattr(doctor, "IMPLEMENTATIONS", ("reference", "fast"))
    monkeypatch.setattr(doctor, "why_not", why_not)
    assert doctor.implementations(torch.device("cpu")) == {
        "auto": "cpu",
        "reference": "runs",
        "fast": "needs a CUDA device, got cpu",
    }


def test_every_implementation_answers_for_a_device_that_is_here_or_not() -> None:
    on_cpu, elsewhere = (doctor.implementations(torch.device(name)) for name in ("cpu", "meta"))
    assert (on_cpu["auto"], on_cpu["cpu"], on_cpu["reference"]) == ("cpu", "runs", "runs")
    assert (elsewhere["auto"], elsewhere["reference"]) == ("reference", "runs")
    assert "meta" in elsewhere["cpu"] and "meta" in elsewhere["triton"]

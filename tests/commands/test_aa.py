"""`effbench aa`: what it says, where it stores it, and what it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from effbench.commands.aa import aa
from effbench.encoders.contract import SettingError
from effbench.errors import InputError
from effbench.study import aa as study
from effbench.study.environment import machine

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Simulated processes: their times are proportional to their work, and scatter."""

    def scatter(share: float) -> None:
        rng = np.random.default_rng(0)

        def process(workload: study.Workload, slower: float) -> dict[str, Any]:
            time = (1 + slower) * 1e-3 * (1 + share * rng.standard_normal())
            return {"samples": [time] * 3, "warm_up": [time], "implementation": {}}

        monkeypatch.setattr(study, "fresh_process", process)

    return scatter


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """The command in this process: what it ends with, and what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(**options: Any) -> tuple[int, str]:
        given = {"encoder": "fpn", "processes": 10, "comparisons": 40, "planted": 5.0, "size": "64x64"}
        given |= {"device": "cpu", "threads": 1, "results": tmp_path, "as_json": True}
        try:
            aa(**{**given, **options})
            code = 0
        except typer.Exit as ended:
            code = ended.exit_code
        return code, capsys.readouterr().out

    return run


def test_a_quiet_machine(noise: Callable[[float], None], call: Call, tmp_path: Path) -> None:
    noise(0.003)
    code, out = call()
    answer = json.loads(out.splitlines()[-1])
    assert code == 0 and answer["reached"]
    assert (answer["false_alarms"], answer["found"], answer["plants"]) == (0, 20, 20)
    assert 0 < answer["floor"] < 0.02 and answer["smallest"] < 0.05
    assert "found 20 of 20" in out and "simulated" in out
    (path,) = (tmp_path / machine() / "aa").glob("*.json")
    assert answer["path"] == str(path)
    assert len(study.read(path).processes) == 40


def test_a_noisy_machine_ends_with_1(noise: Callable[[float], None], call: Call) -> None:
    noise(0.3)
    code, out = call()
    assert code == 1
    assert not json.loads(out.splitlines()[-1])["reached"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": "65x64"}, "multiples of 32"),
        ({"size": "big"}, "expected HxW"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"encoder": "fnp"}, "no encoder is called 'fnp'"),
    ],
)
def test_bad_input(options: dict[str, Any], says: str, call: Call, tmp_path: Path) -> None:
    with pytest.raises((InputError, SettingError), match=says):
        call(**options)
    assert not list(tmp_path.iterdir())

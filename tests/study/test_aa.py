"""What A/A comparisons say of a machine: of simulated ones here, and of real processes that do more work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from effbench.errors import InputError
from effbench.study import aa
from effbench.study.aa_statistics import Floats, evaluate, halves, neighbours, noise_floor
from effbench.study.compare import Quantity

TINY = aa.Workload(settings={"dim": 32, "mask_dim": 32}, size=(64, 64), samples=31)


def machine(noise: float, n: int = 40, slower: float = 0.0, seed: int = 0, drift: float = 0.0) -> Floats:
    """Medians of `n` processes of a simulated machine, whose noise between processes is `noise`."""
    rng = np.random.default_rng(seed)
    return (1 + slower) * (1 + noise * rng.standard_normal(n)) * np.linspace(1, 1 + drift, n)


# --- statistics ------------------------------------------------------------------------------------------------------


def test_halves_take_turns_and_share_no_process() -> None:
    values = np.arange(20.0)
    one, other = halves(neighbours(values), 7, np.random.default_rng(0))
    assert len(one) == len(other) == 7
    assert len({*one, *other}) == 14
    assert np.abs(one - other).max() == 1, "neighbours go to opposite sides"


def test_the_noise_floor_grows_with_the_noise_and_shrinks_with_processes() -> None:
    quiet, noisy = machine(0.01, 80), machine(0.05, 80)
    assert 3 < noise_floor(noisy, 20) / noise_floor(quiet, 20) < 7
    assert noise_floor(quiet, 5) > 1.5 * noise_floor(quiet, 20)
    assert noise_floor(quiet, 20) == noise_floor(quiet, 20), "seeded"
    # a median of 20 has a standard error of 1.25 / sqrt(20) of the spread, a ratio of two sqrt(2) of that
    assert noise_floor(machine(0.01, 2000), 20) == pytest.approx(2.58 * 0.01 * 1.25 * 2**0.5 / 20**0.5, rel=0.25)


def test_a_drift_is_in_the_floor_of_sides_that_do_not_take_turns() -> None:
    drifting = machine(0.001, 80, drift=0.2)
    assert noise_floor(drifting, 20) < 0.02
    assert noise_floor(drifting, 20, interleaved=False) > 0.05


def test_more_processes_than_there_are_give_no_lower_floor() -> None:
    values = machine(0.02)
    assert noise_floor(values, 1000) == noise_floor(values, 20)


def test_a_quiet_machine_reaches_both_targets() -> None:
    found = evaluate(machine(0.01), machine(0.01, slower=0.05, seed=1), 0.05, comparisons=100)
    assert found.reached
    assert (found.processes, found.comparisons, found.plants) == (20, 100, 50)
    assert found.false_alarms <= 1 and found.found >= 48
    assert found.smallest is not None and 0.01 <= found.smallest < 0.05


def test_a_noisy_machine_finds_nothing_and_says_so() -> None:
    found = evaluate(machine(0.2), machine(0.2, slower=0.05, seed=1), 0.05, comparisons=40)
    assert not found.reached
    assert found.found < 20
    assert found.smallest is None or found.smallest > 0.1


def test_false_alarms_are_counted_with_the_floor_of_other_processes() -> None:
    """One split in 16 of these five pairs has all slow processes on one side: their own floor would hide it."""
    found = evaluate(np.array([1.0, 1.3] * 5), np.full(10, 1.05), 0.05, comparisons=200)
    assert 2 < found.false_alarms < 20
    assert not found.reached


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_run_times_fresh_processes_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    plants: list[float] = []

    def process(workload: aa.Workload, slower: float) -> dict[str, Any]:
        plants.append(slower)
        return {"samples": [1 + slower] * 3, "warm_up": [1.0], "implementation": {"op": "reference"}}

    monkeypatch.setattr(aa, "fresh_process", process)
    told: list[tuple[int, int]] = []
    result = aa.run(aa.Workload(), 0.05, processes=5, comparisons=10, report=lambda *at: told.append(at))
    assert plants[:8] == [0.0, 0.05, 0.05, 0.0] * 2
    assert [process.slowed for process in result.processes[:4]] == [False, True, True, False]
    assert told[-1] == (20, 20)
    assert list(result.medians(slowed=True)) == [1.05] * 10
    assert result.evaluation.found == result.evaluation.plants == 5
    assert result.evaluation.false_alarms == 0
    assert result.implementation == {"op": "reference"}


def test_a_real_process_takes_the_planted_time() -> None:
    """Twice the time, in processes that are really started."""
    plain, slowed = (aa.fresh_process(TINY, slower) for slower in (0.0, 1.0))
    assert len(plain["samples"]) == 31 and len(plain["warm_up"]) >= 2
    assert plain["implementation"] == {}
    # by each process' own warm-up, since two processes on a busy machine may differ by more than that
    assert np.median(slowed["samples"]) / slowed["warm_up"][-1] > 1.5
    assert np.median(plain["samples"]) / plain["warm_up"][-1] < 1.5


def test_a_process_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"process of fpn ended with code 1: .*dim=33"):
        aa.fresh_process(replace(TINY, settings={"dim": 33}))


@pytest.mark.parametrize(
    ("options", "says"),
    [({"processes": 4}, "at least 5"), ({"comparisons": 1}, "at least 2"), ({"planted": 0.001}, "expected 1% to 100%")],
)
def test_numbers_that_allow_no_verdict_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        aa.run(TINY, **options)


# --- stored results --------------------------------------------------------------------------------------------------

Make = Callable[..., aa.Result]


@pytest.fixture
def make_result() -> Make:
    """A result whose plain processes scatter by `noise`."""

    def make(
        noise: float = 0.01,
        started_at: str = "2026-01-02T03:04:05.678+00:00",
        device: str = "cpu",
        speed: float = 1.0,
    ) -> aa.Result:
        pools = speed * machine(noise), speed * machine(noise, slower=0.05, seed=1)
        processes = [
            aa.Process(slowed, started_at, [pools[slowed][i]] * 3, [])
            for i in range(40)
            for slowed in ((False, True) if i % 2 == 0 else (True, False))
        ]
        return aa.Result(
            asdict(aa.Workload(device=device)),
            processes,
            evaluate(*pools, 0.05, comparisons=4),
            {"python": "3.11", "gpu": None},
            "aabbccddeeff",
            started_at,
            60.0,
        )

    return make


def quantity(n: int = 20, device: str = "cpu", first: int = 0, **environment: Any) -> Quantity:
    place = {"python": "3.11", "gpu": None, "host": "aabbccddeeff", "threads": 2, **environment}
    return Quantity("fpn: latency", "s", [1.0] * n, [f"2026 {first + 2 * i:03}" for i in range(n)], place, device)


def test_a_result_comes_back_as_it_was_written(make_result: Make, tmp_path: Path) -> None:
    result = make_result()
    path = aa.write(result, tmp_path, "cpu-2c")
    assert path == tmp_path / "cpu-2c/aa/20260102T030405Z.json"
    found = aa.read(path)
    assert json.dumps(asdict(found)) == json.dumps(asdict(result))
    assert list(found.medians(slowed=False)) == list(result.medians(slowed=False))


def test_a_comparison_gets_the_floor_of_its_own_number_of_processes(make_result: Make, tmp_path: Path) -> None:
    aa.write(make_result(), tmp_path, "cpu-2c")
    floor = aa.floor_from(tmp_path)
    few, many = floor(quantity(5), quantity(30)), floor(quantity(20), quantity(20))
    assert few is not None and many is not None
    assert few > many > 0


def test_the_newest_result_of_the_same_environment_and_device_counts(make_result: Make, tmp_path: Path) -> None:
    aa.write(make_result(0.2), tmp_path, "cpu-2c")
    aa.write(make_result(0.01, "2026-01-03T00:00:00.000+00:00"), tmp_path / "published", "cpu-2c")
    aa.write(make_result(0.5, "2026-01-04T00:00:00.000+00:00", "cuda:0"), tmp_path, "cpu-2c")
    floor = aa.floor_from(tmp_path)
    newest = floor(quantity(), quantity(first=1))
    assert newest is not None and newest < 0.03
    assert (floor(quantity(device="cuda"), quantity(device="cuda", first=1)) or 0) > 0.1
    assert floor(quantity(gpu="H200"), quantity(gpu="H200")) is None
    assert floor(quantity(host="other"), quantity(host="other")) is None


def test_what_happens_between_two_runs_may_happen_between_two_sides(make_result: Make, tmp_path: Path) -> None:
    aa.write(make_result(), tmp_path, "cpu-2c")
    before, in_turn, later = quantity(), quantity(first=1), quantity(first=100)
    quiet = aa.floor_from(tmp_path)(before, later)
    aa.write(make_result(started_at="2026-01-03T00:00:00.000+00:00", speed=1.4), tmp_path, "cpu-2c")
    floor = aa.floor_from(tmp_path)
    assert quiet is not None and quiet < 0.1
    assert floor(before, later) == pytest.approx(0.4)
    assert (floor(before, in_turn) or 1) < 0.1


def test_without_a_result_there_is_no_floor(tmp_path: Path) -> None:
    assert aa.floor_from(tmp_path)(quantity(), quantity()) is None


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 99}', '{"schema": 1}'])
def test_a_damaged_result_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "cpu-2c/aa/x.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.json is no result of `effbench aa`"):
        aa.floor_from(tmp_path)

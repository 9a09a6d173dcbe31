"""When a change of a time is called a change, and when not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from effbench.errors import InputError
from effbench.study.compare import (
    LEAST_PROCESSES,
    Comparison,
    Quantity,
    Ratio,
    compare,
    interleaved,
    judge,
    ratio_of_medians,
)
from effbench.study.compare_files import from_records, read_side
from effbench.study.record import Record, RecordBook

HERE = {"gpu": None, "torch": "2.12.0", "host": "aabbccddeeff"}
MakeRecord = Callable[..., Record]


def times(values: Sequence[float], **fields: Any) -> Quantity:
    return Quantity("fpn: latency", "s", list(values), environment=HERE, **fields)


def around(middle: float, spread: float = 0.002, n: int = 20, seed: int = 0) -> list[float]:
    """`n` processes whose medians scatter by `spread` of the middle."""
    return list(middle * (1 + spread * np.random.default_rng(seed).standard_normal(n)))


def of(before: Quantity, after: Quantity, floor: float | None = 0.02, **options: Any) -> Comparison:
    return compare({"key": before}, {"key": after}, lambda *_: floor, **options)


def verdict(before: Sequence[float], after: Sequence[float], floor: float | None = 0.02) -> str:
    (change,) = of(times(before), times(after), floor).changes
    return change.verdict


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_the_ratio_is_that_of_the_medians() -> None:
    found = ratio_of_medians([1.0, 2.0, 90.0], [3.0, 3.0, 3.0])
    assert found.ratio == 1.5
    assert found.low <= found.ratio <= found.high


def test_the_interval_is_the_same_for_the_same_seed_and_holds_what_is_true() -> None:
    before, after = around(1.0, seed=1), around(1.1, seed=2)
    assert ratio_of_medians(before, after) == ratio_of_medians(before, after)
    assert ratio_of_medians(before, after) != ratio_of_medians(before, after, seed=1)
    covered = 0
    for seed in range(100):
        found = ratio_of_medians(
            around(1.0, 0.05, seed=seed), around(1.1, 0.05, seed=1000 + seed), level=0.9, resamples=500
        )
        covered += found.low <= 1.1 <= found.high
    assert 80 <= covered <= 99, "about 90 of 100 intervals of 90%"


@pytest.mark.parametrize(
    ("ratio", "floor", "expected"),
    [
        (Ratio(1.06, 1.03, 1.09), 0.02, "slower"),
        (Ratio(1 / 1.06, 1 / 1.09, 1 / 1.03), 0.02, "faster"),
        (Ratio(1.06, 1.03, 1.09), 0.06, "ambiguous"),  # a change that the machine makes by itself
        (Ratio(1 / 1.06, 1 / 1.09, 1 / 1.03), 0.06, "ambiguous"),
        (Ratio(1.06, 1.03, 1.09), None, "ambiguous"),  # and one where nobody knows what it makes by itself
        (Ratio(1.01, 0.98, 1.04), 0.02, "same"),
        (Ratio(1.01, 0.98, 1.04), None, "same"),
        (Ratio(1.01, 0.98, 1.06), 0.02, "ambiguous"),  # 5% are not ruled out
        (Ratio(0.99, 0.94, 1.02), 0.02, "ambiguous"),
        (Ratio(1.06, 0.99, 1.13), 0.02, "ambiguous"),
    ],
)
def test_verdicts(ratio: Ratio, floor: float | None, expected: str) -> None:
    found = judge(ratio, floor)
    assert found.word == expected
    assert bool(found.reason) == (expected == "ambiguous")


def test_what_same_must_rule_out_can_be_stated() -> None:
    ratio = Ratio(1.01, 0.98, 1.06)
    assert judge(ratio, 0.02, size=0.10).word == "same"
    assert judge(ratio, 0.02, size=0.01).word == "ambiguous"


def test_processes_and_not_samples_are_what_is_counted() -> None:
    assert verdict(around(1.0), around(1.1)) == "slower"
    assert verdict(around(1.1), around(1.0)) == "faster"
    assert verdict(around(1.0), around(1.0, seed=1)) == "same"
    assert verdict(around(1.0, 0.2), around(1.0, 0.2, seed=1)) == "ambiguous"
    few = LEAST_PROCESSES - 1
    assert verdict(around(1.0)[:few], around(9.0)) == "ambiguous"
    assert verdict(around(1.0)[:LEAST_PROCESSES], around(9.0)) == "slower"


def test_a_single_wild_process_is_no_slow_down() -> None:
    assert verdict(around(1.0), [*around(1.0, n=19, seed=1), 50.0]) == "same"


# --- quantities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after", "expected", "code"), [(7.0, "equal", 0), (8.0, "changed", 1), (6.0, "changed", 1)])
def test_counts_are_compared_exactly(after: float, expected: str, code: int) -> None:
    found = of(Quantity("fpn: macs", "MAC", [7.0]), Quantity("fpn: macs", "MAC", [after]))
    assert [change.verdict for change in found.changes] == [expected]
    assert found.exit_code == code


def test_a_count_that_varies_is_none() -> None:
    found = of(Quantity("fpn: memory", "B", [7.0, 7.0]), Quantity("fpn: memory", "B", [7.0, 8.0]))
    assert found.exit_code == 3
    assert "after" in found.changes[0].reason


def test_different_environments_are_refused_and_the_fields_named() -> None:
    other = {**HERE, "gpu": "H200", "cuda": "13.0"}
    with pytest.raises(InputError) as error:
        of(times(around(1.0)), replace(times(around(1.0)), environment=other))
    said = str(error.value)
    assert "gpu (None before, H200 after)" in said and "cuda (None before, 13.0 after)" in said
    assert "torch" not in said and "host" not in said


def test_counts_alone_are_compared_across_environments() -> None:
    count = Quantity("fpn: macs", "MAC", [7.0], environment=HERE)
    before = {"time": times(around(1.0)), "count": count}
    after = {"time": times(around(2.0)), "count": replace(count, environment={**HERE, "gpu": "H200"})}
    found = compare(before, after, lambda *_: 0.02, counts_only=True)
    assert [change.verdict for change in found.changes] == ["equal"]


def test_what_only_one_side_has_is_left_out() -> None:
    found = compare({"a": times(around(1.0))}, {}, lambda *_: 0.02)
    assert found.left_out == [("fpn: latency", "only before has it")]
    assert found.exit_code == 4


def test_a_measurement_that_fails_now_is_no_silence() -> None:
    lost = Quantity("fpn: latency", "", [], lost="failed: ValueError")
    found = of(times(around(1.0)), lost)
    assert [(change.verdict, change.reason) for change in found.changes] == [("failed", "failed: ValueError")]
    assert found.exit_code == 1
    assert of(lost, times(around(1.0))).left_out == [("fpn: latency", "nothing before: failed: ValueError")]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["same", "faster", "equal"], 0),
        (["same", "slower", "ambiguous"], 1),
        (["equal", "changed"], 1),
        (["same", "ambiguous"], 3),
        ([], 4),
    ],
)
def test_exit_codes(verdicts: list[str], code: int) -> None:
    (change,) = of(times(around(1.0)), times(around(1.0))).changes
    assert Comparison([replace(change, verdict=word) for word in verdicts], []).exit_code == code


def test_another_implementation_is_said() -> None:
    before = times(around(1.0), implementation={"ms_deform_attn": "reference"})
    (change,) = of(before, times(around(1.0), implementation={"ms_deform_attn": "triton"})).changes
    assert "reference" in change.reason and "triton" in change.reason


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0347", "1256", True),  # A B B A A B B A
        ("0246", "1357", True),
        ("0123", "4567", False),
        ("0145", "2367", False),
        ("", "", False),
    ],
)
def test_whether_sides_took_turns(before: str, after: str, expected: bool) -> None:
    assert interleaved(list(before), list(after)) is expected


def test_sides_that_take_turns_are_compared_in_pairs_and_a_drift_falls_out() -> None:
    """A machine that gets three times slower meanwhile: in pairs the 5% are seen, one after the other they are not."""
    turns = [f"{i:03}" for i in range(40)]
    slow = np.linspace(1, 3, 40) * np.where(np.arange(40) % 2, 1.05, 1.0) * around(1.0, 0.001, 40)
    before, after = (times(slow[side::2], started=turns[side::2]) for side in (0, 1))
    (paired,) = of(before, after).changes
    (apart,) = of(replace(before, started=()), replace(after, started=())).changes
    assert paired.interleaved and not apart.interleaved
    assert paired.ratio is not None and apart.ratio is not None
    assert paired.ratio.high - paired.ratio.low < 0.3 * (apart.ratio.high - apart.ratio.low)


def test_of_sides_that_did_not_take_turns_a_change_is_said_to_hold_a_drift() -> None:
    (change,) = of(times(around(1.0)), times(around(1.2))).changes
    assert change.verdict == "slower" and "after the other" in change.reason


# --- records and files -----------------------------------------------------------------------------------------------


def replicas(make: MakeRecord, values: Sequence[float], **fields: Any) -> list[Record]:
    """A record for each process, as an interleaved run writes them."""
    return [
        make(
            cell={"encoder": "fpn", "size": "64x64", "options": {"samples": 3, "replica": i}},
            cell_id=f"{i:016x}",
            samples=[value, 0.9 * value, 1.1 * value],
            started_at=f"2026-01-02T03:{i:02}:00+00:00",
            **fields,
        )
        for i, value in enumerate(values)
    ]


def test_replicas_of_a_cell_are_the_processes_of_one_quantity(make_record: MakeRecord) -> None:
    (quantity,) = from_records(iter(replicas(make_record, [1.0, 2.0, 3.0]))).values()
    assert quantity.values == [1.0, 2.0, 3.0]
    assert quantity.started[0] == "2026-01-02T03:00:00+00:00"
    assert quantity.name == "fpn at 64x64: latency"
    assert quantity.environment["host"] == "aabbccddeeff"


def test_records_of_an_older_source_are_not_mixed_in(make_record: MakeRecord) -> None:
    old, new = replicas(make_record, [9.0, 9.0], source="old"), replicas(make_record, [1.0, 2.0], source="new")
    (quantity,) = from_records(iter([*old, *new])).values()
    assert quantity.values == [1.0, 2.0]


def test_failed_and_skipped_records_and_qualities(make_record: MakeRecord) -> None:
    failed = make_record(status="failed", reason="ValueError: no", samples=[])
    (quantity,) = from_records(iter([failed])).values()
    assert not quantity.values and quantity.lost == "failed: ValueError: no"
    assert from_records(iter([make_record(status="skipped"), make_record(unit="%", probe="quality")])) == {}


def test_counts_are_compared_part_by_part(make_record: MakeRecord) -> None:
    def side(encoder: float) -> dict[Any, Quantity]:
        detail = {"papers": {"encoder": encoder, "total": 7}, "threads": 1, "settings": {"dim": 64}}
        return from_records(iter([make_record(probe="macs", unit="MAC", samples=[7], detail=detail)]))

    found = compare(side(3), side(4), lambda *_: None)
    assert [(change.name, change.before, change.after) for change in found.changes if change.verdict == "changed"] == [
        ("fpn: macs papers.encoder", 3, 4)
    ]
    assert len(found.changes) == 3


def test_folders_of_results_and_records_files(make_record: MakeRecord, tmp_path: Path) -> None:
    path = tmp_path / "cpu/coco/quick/records.jsonl"
    for record in replicas(make_record, [1.0, 2.0]):
        RecordBook(path).append(record)
    assert read_side(tmp_path) == read_side(path)
    (quantity,) = read_side(path).values()
    assert quantity.values == [1.0, 2.0]


def benchmark_file(path: Path, median: float, at: str, **machine: Any) -> Path:
    content = {
        "machine_info": {**HERE, "cpu": {"brand": "EPYC", "hz_actual": median}, **machine},
        "datetime": at,
        "benchmarks": [
            {"fullname": "a", "stats": {"median": median}, "extra_info": {"device": "cuda", "counts": {"MAC": 7}}},
            {"fullname": "b", "stats": {"median": 2 * median}},
        ],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_each_file_of_pytest_benchmark_is_a_process(tmp_path: Path) -> None:
    for number in (1, 2):
        benchmark_file(tmp_path / f"{number}.json", float(number), f"2026-01-0{number}")
    side = read_side(tmp_path)
    assert {key: quantity.values for key, quantity in side.items()} == {
        ("a", "s"): [1.0, 2.0],
        ("a", "MAC"): [7, 7],
        ("b", "s"): [2.0, 4.0],
    }
    assert side["a", "s"].device == "cuda"
    assert side["a", "s"].started == ["2026-01-01", "2026-01-02"]
    assert side["a", "s"].environment == {**HERE, "cpu": {"brand": "EPYC"}}, "the clock of the moment is left out"


def test_files_of_two_environments_are_no_side(tmp_path: Path) -> None:
    benchmark_file(tmp_path / "1.json", 1.0, "2026-01-01")
    benchmark_file(tmp_path / "2.json", 1.0, "2026-01-02", torch="2.13.0")
    with pytest.raises(InputError, match=r"2\.json was measured in another environment"):
        read_side(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine_info": {}, "datetime": "", "benchmarks": [{}]}'])
def test_another_json_file_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"other\.json is no file of pytest-benchmark"):
        read_side(path)


def test_a_place_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to compare in it"):
        read_side(tmp_path)
    with pytest.raises(InputError, match="not found"):
        read_side(tmp_path / "nowhere")

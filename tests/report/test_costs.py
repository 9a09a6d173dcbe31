"""The cost tables: every number from where the probes put it, several processes of one cell in one row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from effbench.probes import canary, components, energy, memory, roofline, warm_up
from effbench.probes.base import Context, Measurement
from effbench.report import costs
from effbench.study.cell import Cell
from effbench.study.interleave import interleaved
from effbench.study.record import Record

CELL = Cell(
    encoder="fpn",
    width={"dim": 32, "mask_dim": 32},
    backbone="resnet_mini",
    decoder_settings={"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1},
    dataset="a tiny set",
    size="64x64",
    classes=15,
    queries=6,
    options={"samples": 2},
)
NAMES = ["fpn", "resnet_mini", "narrow", "64x64", "cpu", "float32"]
TABLES = (costs.where_time_goes, costs.rooflines, costs.ceilings, costs.memory_table, costs.energy_table)


class Meter:
    """A clock, and a meter of a device that draws 20 W when idle and 100 W at work."""

    def __init__(self) -> None:
        self.now, self.joules, self.begun = 0.0, 0.0, 0.0

    def spend(self, seconds: float, watts: float = 20) -> None:
        self.now += seconds
        self.joules += watts * seconds

    def begin(self) -> None:
        self.begun = self.joules

    def end(self) -> float:
        return self.joules - self.begun


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Record]]:
    """probe -> a record that it has really measured, with ceilings and warm-ups of milliseconds and a scripted meter.

    The tables read what the probes write, or these tests fail.
    """
    meter = Meter()
    context = Context(str(tmp_path_factory.mktemp("work")), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(canary.SIDE, "cpu", 64)
        patch.setitem(roofline.SIDE, "cpu", 64)
        patch.setitem(roofline.MAP, "cpu", (1, roofline.CHANNELS, 4, 4))
        patch.setattr(roofline, "COPIED", 2**16)
        patch.setattr(warm_up, "BLOCK_S", 0.002)
        patch.setattr(warm_up, "MOST_S", 0.1)
        patch.setattr(energy, "time", SimpleNamespace(perf_counter=lambda: meter.now, sleep=meter.spend))
        patch.setattr(energy, "ZeusMeter", lambda device: meter)
        patch.setattr(energy, "end_to_end", lambda model, images: meter.spend(0.5, watts=100))
        yield {
            name: record(probe.measure(CELL, context), name)
            for name, probe in (("components", components), ("memory", memory), ("energy", energy))
        }


def record(found: Measurement, probe: str) -> Record:
    """As it comes back from a records file."""
    return Record(
        cell=CELL.to_json(),
        cell_id=CELL.id,
        probe=probe,
        probe_version="1",
        unit=found.unit,
        samples=list(found.samples),
        status="ok",
        source="0" * 16,
        environment={"cpu": "Some CPU", "gpu": None},
        host="a" * 12,
        started_at="2026-01-02T03:04:05+00:00",
        seconds=2.0,
        detail=json.loads(json.dumps(found.detail)),
    )


def planted(record: Record, numbers: Mapping[str, Any], **changes: Any) -> Record:
    """The record with other numbers at paths of its detail, all of which the probe has written."""
    detail = json.loads(json.dumps(record.detail))
    for path, number in numbers.items():
        *folders, name = path.split(".")
        inner = detail
        for folder in folders:
            inner = inner[folder]
        assert name in inner, path
        inner[name] = number
    return replace(record, detail=detail, **changes)


def replicas(records: list[Record]) -> list[Record]:
    """The records as those of so many fresh processes of one cell."""
    cells = interleaved([CELL], len(records))
    return [replace(record, cell=cell.to_json(), cell_id=cell.id) for record, cell in zip(records, cells, strict=True)]


TIMES = {"preparation": 0.001, "backbone": 0.05, "encoder": 0.12, "decoder": 0.02, "post_processing": 0.006}
TIMED: dict[str, Any] = {
    **{f"mean_s.{name}": seconds for name, seconds in TIMES.items()},
    "mean_s.whole": 0.2,
    "residual": 0.015,
    "sum_over_whole": 1.01,
    "boundaries_cost": 0.023,
}


def placed(part: str, macs: float, moved: float, bound: str = "compute") -> dict[str, Any]:
    """Rates of a part below ceilings of 400 GMAC/s and 40 GB/s."""
    rates = {"mac_per_s": macs * 1e9, "byte_per_s": moved * 1e9, "mac_share": macs / 400, "byte_share": moved / 40}
    return {f"roofline.{part}.{name}": number for name, number in {**rates, "bound": bound}.items()}


def roof(macs: float, moved: float) -> dict[str, Any]:
    return {"roofline.ceilings.mac_per_s": macs * 1e9, "roofline.ceilings.byte_per_s": moved * 1e9}


# --- what the probes really write ------------------------------------------------------------------------------------


def test_tables_read_what_the_probes_write(measured: dict[str, Record]) -> None:
    records = list(measured.values())
    sizes = {table.__name__: len(table(records)) for table in TABLES}
    assert sizes == {"where_time_goes": 1, "rooflines": 3, "ceilings": 1, "memory_table": 1, "energy_table": 1}
    for table in (costs.where_time_goes, costs.rooflines, costs.memory_table, costs.energy_table):
        assert table(records).iloc[0].tolist()[: len(NAMES)] == NAMES
    for table in TABLES:
        frame = table(records)
        assert set(map(type, frame.to_numpy().ravel())) == {str}
        assert set(frame["processes"]) == {"1"}


def test_without_records_there_are_no_rows(measured: dict[str, Record]) -> None:
    failed = [replace(record, status="failed", samples=[], detail={}) for record in measured.values()]
    others = [replace(record, probe="latency") for record in measured.values()]
    for table in TABLES:
        assert table([]).empty and table(failed).empty and table(others).empty


def test_a_pass_is_as_long_as_the_record_says(measured: dict[str, Record]) -> None:
    """Through the probe's own numbers: components, and what they miss of their pass."""
    (row,) = costs.where_time_goes(list(measured.values())).to_dict("records")
    detail = measured["components"].detail
    mean = sum(detail["with_boundaries"]) / 2
    assert float(row["pass, ms"]) == pytest.approx(1000 * mean, abs=0.006)
    assert float(row["sum / pass, %"]) == pytest.approx(
        100 * sum(map(sum, detail["components"].values())) / (2 * mean), abs=0.006
    )


def test_joules_are_those_above_an_idle_device(measured: dict[str, Record]) -> None:
    """(100 W - 20 W) for half a second."""
    (row,) = costs.energy_table(list(measured.values())).to_dict("records")
    assert list(row.values())[len(NAMES) :] == ["40.000", "40.000 to 40.000", "20.0", "3", "zeus, RAPL packages", "1"]


# --- planted numbers -------------------------------------------------------------------------------------------------


def test_where_the_time_goes(measured: dict[str, Record]) -> None:
    (row,) = costs.where_time_goes([planted(measured["components"], TIMED)]).to_dict("records")
    assert dict(list(row.items())[len(NAMES) :]) == {
        "preparation, ms": "1.00",
        "backbone, ms": "50.00",
        "encoder, ms": "120.00",
        "decoder, ms": "20.00",
        "post-processing, ms": "6.00",
        "pass, ms": "200.00",
        "encoder's share, %": "60.0",
        "sum / pass, %": "98.50",
        "sum / pass without boundaries, %": "101.0",
        "boundaries' cost, %": "+2.3",
        "passes": "2",
        "processes": "1",
    }


def test_what_bounds_each_part(measured: dict[str, Record]) -> None:
    numbers = {
        **placed("backbone", 300, 4),
        **placed("encoder", 100, 30, "memory"),
        **placed("decoder", 2, 1, "launch"),
    }
    rows = costs.rooflines([planted(measured["components"], numbers)])
    assert list(rows.columns[len(NAMES) :]) == [
        *("part", "GMAC/s", "GB/s", "of MAC ceiling, %", "of byte ceiling, %", "bound", "processes")
    ]
    assert rows.iloc[:, len(NAMES) :].to_numpy().tolist() == [
        ["backbone", "300.0", "4.0", "75.0", "10.0", "compute", "1"],
        ["encoder", "100.0", "30.0", "25.0", "75.0", "memory", "1"],
        ["decoder", "2.0", "1.0", "0.5", "2.5", "launch", "1"],
    ]


def test_ceilings_are_of_a_device_and_a_precision(measured: dict[str, Record]) -> None:
    """Of all cells and processes alike; TF32 is a precision of its own."""
    tf32 = replace(CELL, device="cuda", options={"tf32": True}).to_json()
    wide = replace(CELL, size="96x96").to_json()
    base = measured["components"]
    records = [
        *replicas([planted(base, roof(400, 40)), planted(base, roof(410, 30))]),
        planted(base, roof(500, 38), cell=wide),
        planted(base, roof(9000, 4000), cell=tf32),
    ]
    rows = costs.ceilings(records)
    assert list(rows.columns) == [
        *("device", "precision", "GMAC/s", "GMAC/s, range", "GB/s", "GB/s, range"),
        *("GMAC/s are of a", "processes"),
    ]
    assert set(rows["GMAC/s are of a"]) <= {"product", "convolution", "product, convolution", "convolution, product"}
    rows = rows.drop(columns="GMAC/s are of a")
    assert rows.to_numpy().tolist() == [
        ["cpu", "float32", "410.0", "400.0 to 500.0", "38.0", "30.0 to 40.0", "3"],
        ["cuda", "tf32", "9000.0", "9000.0 to 9000.0", "4000.0", "4000.0 to 4000.0", "1"],
    ]


MEMORY: dict[str, Any] = {
    "components.encoder.own": 30e6,
    "components.post_processing.whole": 90e6,
    "whole": 90e6,
    **{f"weights.{part}": size for part, size in (("backbone", 40e6), ("encoder", 5e6), ("decoder", 2.5e6))},
}


def test_where_the_memory_has_its_peak(measured: dict[str, Record]) -> None:
    (row,) = costs.memory_table([planted(measured["memory"], MEMORY)]).to_dict("records")
    assert dict(list(row.items())[len(NAMES) :]) == {
        "encoder's own peak, MB": "30.00",
        "whole pass' peak, MB": "90.00",
        "peak is in": "post-processing",
        "encoder's weights, MB": "5.00",
        "all weights, MB": "47.50",
        "counted by": "PyTorch's CPU allocator",
        "processes": "1",
    }


def test_what_cuda_reserves_is_a_dash_on_a_cpu(measured: dict[str, Record]) -> None:
    on_cpu = planted(measured["memory"], MEMORY)
    gpu = replace(on_cpu, detail={**on_cpu.detail, "reserved": 128e6}, cell={**on_cpu.cell, "device": "cuda"})
    rows = costs.memory_table([on_cpu, gpu])
    assert list(rows["device"]) == ["cpu", "cuda"]
    assert list(rows["reserved, MB"]) == ["-", "128.00"]


def test_joules_stand_with_their_range(measured: dict[str, Record]) -> None:
    (row,) = costs.energy_table(
        [planted(measured["energy"], {"idle_w": 75.04}, samples=[5.0, 4.0, 4.5])],
    ).to_dict("records")
    assert [row[title] for title in ("J per image", "range, J", "idle, W")] == ["4.500", "4.000 to 5.000", "75.0"]


# --- several processes -----------------------------------------------------------------------------------------------


def test_processes_of_one_cell_are_one_row_of_means(measured: dict[str, Record]) -> None:
    base = measured["components"]
    slower = {path: number * 2 if path.startswith("mean_s") else number for path, number in TIMED.items()}
    first = planted(base, {**TIMED, **placed("encoder", 100, 30, "memory")})
    second = planted(base, {**slower, **placed("encoder", 50, 20), "residual": 0.025})
    (row,) = costs.where_time_goes(replicas([first, second])).to_dict("records")
    assert (row["encoder, ms"], row["pass, ms"], row["encoder's share, %"]) == ("180.00", "300.00", "60.0")
    assert (row["sum / pass, %"], row["passes"], row["processes"]) == ("98.00", "4", "2")
    encoder = costs.rooflines(replicas([first, second])).set_index("part").loc["encoder"]
    assert encoder.tolist()[-6:] == ["75.0", "25.0", "18.8", "62.5", "memory, compute", "2"]


def test_memory_and_energy_of_processes_are_averaged(measured: dict[str, Record]) -> None:
    base = measured["memory"]
    more = {**MEMORY, "components.encoder.own": 32e6, "components.decoder.whole": 99e6, "whole": 99e6}
    (row,) = costs.memory_table(replicas([planted(base, MEMORY), planted(base, more)])).to_dict("records")
    assert [row[title] for title in ("encoder's own peak, MB", "whole pass' peak, MB", "processes")] == [
        *("31.00", "94.50", "2")
    ]
    assert (row["peak is in"], row["all weights, MB"]) == ("post-processing, decoder", "47.50")
    one, two = (planted(measured["energy"], {"idle_w": w}, samples=s) for w, s in ((70, [1.0, 2.0]), (80, [4.5])))
    (row,) = costs.energy_table(replicas([one, two])).to_dict("records")
    assert [row[title] for title in ("J per image", "range, J", "idle, W", "windows", "meter")] == [
        *("3.000", "1.000 to 4.500", "75.0", "3", "zeus, RAPL packages")
    ]


@pytest.mark.parametrize("changes", [{"host": "b" * 12}, {"environment": {"cpu": "Another CPU"}}])
def test_processes_of_two_machines_are_not_averaged(measured: dict[str, Record], changes: dict[str, Any]) -> None:
    records = replicas([planted(measured["components"], TIMED)] * 2)
    assert list(costs.where_time_goes([records[0], replace(records[1], **changes)])["processes"]) == ["1", "1"]


def test_other_cells_have_rows_of_their_own(measured: dict[str, Record]) -> None:
    base = measured["components"]
    cells = [replace(CELL, **change) for change in ({}, {"batch": 8}, {"dtype": "bfloat16"}, {"size": "96x96"})]
    rows = costs.where_time_goes([replace(base, cell=cell.to_json(), cell_id=cell.id) for cell in cells])
    assert rows[["input", "conditions"]].to_numpy().tolist() == [
        ["64x64", "float32"],
        ["64x64", "float32, batch 8"],
        ["64x64", "bfloat16"],
        ["96x96", "float32"],
    ]

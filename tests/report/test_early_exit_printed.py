"""ECO-M2F's tables beside ours, from made-up records whose numbers can be recognised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from effbench.claims.printed import read
from effbench.report import early_exit_printed
from effbench.study.record import Record
from effbench.study.suite import Plan
from effbench.suites import eco as suite

Answer = Callable[..., Record]
CLAIMS = read()


def scores(pq: float) -> dict[str, Any]:
    return {"all": {"pq": pq}, "miou": {"miou": pq + 5}, "ap": {"ap": pq - 5}}


@pytest.fixture(scope="module")
def records(eco: Plan, exit_answer: Answer) -> list[Record]:
    """Encoders of 50 GMACs a layer, totals of 100 more; gates leave at 3 and give 60, models alone 40 + layers."""
    found = []
    for task in eco.tasks:
        options = task.cell.options
        if task.probe == "macs" and "exit" in options:
            encoder = 50e9 * options["exit"]
            found.append(exit_answer(task, {"papers": {"encoder": encoder, "total": encoder + 100e9}}))
        elif task.probe == "exit_quality" and "gate" in options:
            found.append(exit_answer(task, {**scores(60.0), "mean_exit": 3.0}))
        elif task.probe == "quality":
            found.append(exit_answer(task, scores(40.0 + task.cell.settings["layers"])))
        elif task.probe == "exits":
            exits = next(exits for system, exits in suite.EXITS.items() if system.label == task.cell.system)
            pq = {str(k): {"all": {"pq": 50.0 + k + options["recipe"]["seed"]}} for k in exits}
            found.append(exit_answer(task, {"exits": pq, "recipe": options["recipe"]}))
    return found


def test_a_gated_row_stands_beside_our_gate_of_the_same_beta(records: list[Record]) -> None:
    rows = early_exit_printed.tables(records, CLAIMS)["ECO-M2F, Table 3"].set_index("row")
    row = rows.loc["coco/swin_t/ECO-M2F(beta=0.0005)"]
    assert row["PQ, mIoU_p, AP_p in print"] == "52.06, 62.76, 41.51" and row["ours"] == "60.0, 65.0, 55.0"
    assert row["GFLOPs in print, total / encoder"] == "202.39 / 88.47"
    assert row["its mean exit"] == f"{88.47 / 50:.2f}" and row["our mean exit"] == "3.00"
    assert row["our GMACs there, total / encoder"] == "250.00 / 150.00"
    full = rows.loc["coco/swin_t/M2F"]
    assert full["ours"] == "46.0, 51.0, 41.0" and full["its mean exit"] == "-" and full["our mean exit"] == "6.00"


def test_rows_of_every_table_have_one_of_ours(records: list[Record]) -> None:
    found = early_exit_printed.tables(records, CLAIMS)
    counts = {source.removeprefix("ECO-M2F, Table "): len(frame) for source, frame in found.items()}
    assert counts == {"1": 6, "2": 6, "3": 11, "4": 6, "6": 12, "8": 4, "T1": 5, "T2": 4}
    assert set(found["ECO-M2F, Table 6"]["ours"]) == {"-"} == set(found["ECO-M2F, Table 8"]["ours"])
    losses = found["ECO-M2F, Table T2"]
    assert losses["row"].str.contains("gate_loss").sum() == 3 and set(losses["ours"]) == {"60.0, 65.0, 55.0"}
    fewer = found["ECO-M2F, Table 4"].set_index("row")
    assert fewer.loc["swin_t/M2F(layers=4)", "our mean exit"] == "4.00"
    assert fewer.loc["swin_t/ECO-M2F(k=4)", "ours"] == "60.0, 65.0, 55.0"


def test_exits_stand_beside_the_printed_ones_by_how_they_were_trained(records: list[Record]) -> None:
    rows = early_exit_printed.exits_table(records, CLAIMS).set_index(["trained", "PQ on"])
    assert rows.loc[("last", "cityscapes, printed"), "exit 2"] == "03.21"
    assert rows.loc[("weighted", "coco, printed"), "exit 6"] == "52.48"
    assert rows.loc[("weighted", "ours"), "exit 6"] == "56.5", "the mean of two seeds"
    assert len(rows) == 9


def test_without_records_there_are_no_tables() -> None:
    assert early_exit_printed.tables([], CLAIMS) == {} and early_exit_printed.exits_table([], CLAIMS).empty

"""Speeds are held against one run of ours by direction alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from effbench.claims import speed
from effbench.claims.context import CONTRADICTED, NOT_COMPARABLE, REPRODUCED, Book, Verdict
from effbench.claims.counting import Counts, cell_of
from effbench.claims.printed import Claim, read
from effbench.study.record import Record

M2F, PROSCALE = "proscale/T9/r50/M2F/fps", "proscale/T9/r50/PRO-SCALE(3,3,3)/fps"


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.id: claim for claim in read()}


def timed(claim: Claim, medians: Sequence[float], record: Record) -> list[Record]:
    """A process of eleven like passes for each of `medians` seconds."""
    cell = cell_of(claim, "800x1088").to_json()
    return [
        replace(record, cell={**cell, "options": {"replica": i}}, probe=speed.PROBE, samples=[s] * 11, status="ok")
        for i, s in enumerate(medians)
    ]


def found(claims: Mapping[str, Claim], kept: Counts, times: Mapping[str, Sequence[float]]) -> list[Verdict]:
    any_record = next(iter(kept.records.values()))
    run = [record for id, seconds in times.items() for record in timed(claims[id], seconds, any_record)]
    book = Book(list(claims.values()), kept, {"machine/coco/full": run})
    return [speed.verdict(book, claims[id]) for id in (M2F, PROSCALE)]


def verdicts(claims: Mapping[str, Claim], kept: Counts, times: Mapping[str, Sequence[float]]) -> list[str]:
    return [verdict.verdict for verdict in found(claims, kept, times)]


def reasons(claims: Mapping[str, Claim], kept: Counts, times: Mapping[str, Sequence[float]]) -> list[str]:
    return [verdict.reason for verdict in found(claims, kept, times)]


def test_the_printed_direction_is_reproduced_whatever_the_values(claims: dict[str, Claim], kept: Counts) -> None:
    assert verdicts(claims, kept, {M2F: [50.0, 50.1], PROSCALE: [40.0, 40.1]}) == [REPRODUCED, REPRODUCED]


def test_the_other_direction_contradicts(claims: dict[str, Claim], kept: Counts) -> None:
    assert verdicts(claims, kept, {M2F: [4.0, 4.01], PROSCALE: [5.0, 5.01]}) == [CONTRADICTED, CONTRADICTED]


def test_times_that_processes_do_not_tell_apart_say_nothing(claims: dict[str, Claim], kept: Counts) -> None:
    assert verdicts(claims, kept, {M2F: [4.0, 5.0], PROSCALE: [3.9, 4.9]}) == [NOT_COMPARABLE, NOT_COMPARABLE]


def test_one_process_has_no_spread_and_says_nothing(claims: dict[str, Claim], kept: Counts) -> None:
    assert verdicts(claims, kept, {M2F: [50.0], PROSCALE: [40.0]}) == [NOT_COMPARABLE, NOT_COMPARABLE]
    assert verdicts(claims, kept, {M2F: [50.0], PROSCALE: [40.0, 40.1]}) == [NOT_COMPARABLE, NOT_COMPARABLE]


@pytest.mark.parametrize("times", [(50.0, 50.1), (50.0,)])
def test_the_reason_says_on_what_it_was_timed(claims: dict[str, Claim], kept: Counts, times: tuple[float, ...]) -> None:
    for said in reasons(claims, kept, {M2F: times, PROSCALE: [40.0, 40.1]}):
        assert "in machine/coco/full, on a CPU (" in said
        assert ("timed in one process" in said) == (len(times) == 1)


def test_one_row_alone_says_nothing(claims: dict[str, Claim], kept: Counts) -> None:
    assert verdicts(claims, kept, {M2F: [4.0, 4.1]}) == [NOT_COMPARABLE, NOT_COMPARABLE]


def test_without_a_run_it_is_not_comparable(claims: dict[str, Claim], kept: Counts) -> None:
    book = Book(list(claims.values()), kept)
    verdict = speed.verdict(book, claims["proscale/T15/swin_t/RT-M2F/fps"])
    assert verdict.verdict == NOT_COMPARABLE
    assert "no run of ours" in verdict.reason
    assert "1024x2048" in verdict.reason

"""Systems are ordered by quality only where the study can tell a strong one from a plain one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from effbench.report import page, ranking
from effbench.study.record import Record
from effbench.study.suite import Plan, Ranking
from effbench.suites.systems import COUNTED, SYSTEMS

Answer = Callable[..., Record]
RULE = Ranking(strong="mask2former", plain="fpn")
LAST = len(COUNTED)
TRAINED = [system.label for system in SYSTEMS]


def scored(full: Plan, answer: Answer, **pqs: list[float]) -> list[Record]:
    """The plan's trainings, with the given systems' PQ for each seed."""
    records = []
    for task in full.tasks:
        if task.probe == "quality":
            record = answer(task)
            if task.cell.system in pqs:
                record.detail["all"]["pq"] = pqs[task.cell.system][task.cell.options["recipe"]["seed"]]
            records.append(record)
    return records


def test_seeds_are_shown_best_mean_first(full: Plan, answer: Answer) -> None:
    rows = ranking.seeds_table(scored(full, answer))
    assert len(rows) == len(SYSTEMS)
    best = rows.iloc[0]
    assert list(best) == ["fpn", f"{40.5 + LAST:.1f}", f"{40 + LAST}.0", f"{41 + LAST}.0", "3"]
    assert list(rows["PQ, mean of seeds"].astype(float)) == sorted(rows["PQ, mean of seeds"].astype(float))[::-1]


@pytest.mark.parametrize(
    ("strong", "plain", "ranked"),
    [
        ([60.0, 60.5, 61.0], [58.0, 58.5, 59.0], True),  # 2 ahead, seeds 1 apart
        ([60.0, 60.5, 61.0], [59.0, 59.5, 60.0], False),  # 1 ahead, 1 apart
        ([60.0, 60.5, 61.0], [55.0, 58.5, 59.0], False),  # 3 ahead, those of the plain one 4 apart
        ([58.0, 58.5, 59.0], [60.0, 60.5, 61.0], False),  # far apart, but the wrong way round
    ],
)
def test_ranked_is_where_the_strong_one_is_ahead_by_more_than_seeds_lie_apart(
    strong: list[float], plain: list[float], ranked: bool, full: Plan, answer: Answer
) -> None:
    records = scored(full, answer, mask2former=strong, fpn=plain)
    found, why = ranking.verdict(records, RULE, TRAINED)
    assert found is ranked
    assert why.startswith("Ranked" if ranked else "Not ranked")
    assert f"{sum(strong) / 3 - sum(plain) / 3:+.1f} points" in why


def test_one_seed_ranks_nothing(full: Plan, answer: Answer) -> None:
    records = [r for r in scored(full, answer) if r.cell["options"]["recipe"]["seed"] == 0]
    ranked, why = ranking.verdict(records, RULE, TRAINED)
    assert not ranked and "1 to 1 seeds of a system" in why


def test_a_system_that_lacks_a_seed_keeps_all_from_being_ranked(full: Plan, answer: Answer) -> None:
    records = scored(full, answer, mask2former=[90.0, 90.1, 90.2])
    assert ranking.verdict(records, RULE, TRAINED)[0]
    fewer = [r for r in records if (r.cell["encoder"], r.cell["options"]["recipe"]["seed"]) != ("rt", 2)]
    ranked, why = ranking.verdict(fewer, RULE, TRAINED)
    assert not ranked and "2 to 3 seeds of a system" in why
    without = [r for r in records if r.cell["encoder"] != "rt"]
    ranked, why = ranking.verdict(without, RULE, TRAINED)
    assert not ranked and "rt did not end with every seed" in why


def test_what_is_not_ranked_stands_in_the_suites_order(full: Plan, answer: Answer) -> None:
    def order(records: list[Record]) -> list[str]:
        _, _, rows = page._ranking(records, full)
        return [line.split("|")[1].strip() for line in rows.splitlines()[2:]]

    assert order(scored(full, answer)) == [system.label for system in SYSTEMS]
    ahead = scored(full, answer, mask2former=[90.0, 90.1, 90.2])
    assert order(ahead)[:2] == ["mask2former", "fpn"]


def test_a_plan_that_asks_for_no_ranking_has_none(quick: Plan, answer: Answer) -> None:
    records = [answer(task) for task in quick.tasks if task.probe == "quality"]
    assert page._ranking(records, quick) == []

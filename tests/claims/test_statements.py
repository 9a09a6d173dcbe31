"""One statement that is printed in several places is one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from effbench.claims.context import Book
from effbench.claims.counting import Counts
from effbench.claims.printed import read
from effbench.claims.statements import places, statements

TABLE = "proscale/T1/swin_t/Lite-M2F/pct_encoder"


@pytest.fixture
def book() -> Book:
    return Book(read(), Counts(may_count=False))


def test_a_number_that_reviews_repeat_is_one_statement(book: Book) -> None:
    group = next(g for g in statements(book, book.claims) if any(c.id == TABLE for c in g))
    assert {c.value for c in group} == {"-31.81", "31.81"}
    assert places(group, "proscale") == "Table 1; three times in the reviews"
    assert places(group[:1], "eco") == "PRO-SCALE, Table 1"
    assert places(group[:2], "proscale_forum").startswith("PRO-SCALE, Table 1; authors")


def test_another_value_is_another_statement(book: Book) -> None:
    other = replace(next(c for c in book.claims if c.id == TABLE), value="-31.82")
    changed = Book([other if c.id == TABLE else c for c in book.claims], book.counts)
    assert [other] in statements(changed, changed.claims)


def test_every_number_is_in_one_statement(book: Book) -> None:
    groups = statements(book, book.claims)
    assert sorted(c.id for group in groups for c in group) == sorted(c.id for c in book.claims)
    assert len(groups) < len(book.claims)

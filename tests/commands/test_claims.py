"""`effbench claims`: its filters, its JSON, its files, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.claims import counting
from effbench.commands.claims import claims
from effbench.errors import InputError

Claims = Callable[..., str]
PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Claims:
    """The command in this process, with the published counts taken as fresh: what it prints."""
    monkeypatch.setattr(counting, "stale", lambda record: False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(**options: Any) -> str:
        given = {"paper": None, "table": None, "verdict": None, "results": PUBLISHED, "write": False, "as_json": False}
        claims(**{**given, **options})
        return capsys.readouterr().out

    return run


def test_it_counts_by_verdict(call: Claims) -> None:
    out = call()
    assert "claims: " in out
    assert "reproduced" in out
    assert "counting" not in out


def test_filters_leave_what_they_name(call: Claims) -> None:
    answer = json.loads(call(paper="proscale", table="T1", verdict="contradicted", as_json=True).splitlines()[-1])
    assert answer["claims"]
    assert answer["counts"] == {"contradicted": len(answer["claims"])}
    for claim in answer["claims"]:
        assert (claim["paper"], claim["table"], claim["verdict"]) == ("proscale", "T1", "contradicted")
    text = json.loads(call(paper="eco", table="text", as_json=True).splitlines()[-1])
    assert all(claim["place"] for claim in text["claims"])
    assert {found["observation"] for found in text["contradictions"]} == {True, False}


def test_a_filtered_answer_is_shown_row_by_row(call: Claims) -> None:
    out = call(paper="eco", table="T7")
    assert "eco/T7/r50/DETR" in out
    assert "28 claims" in out


def test_it_writes_the_published_files(call: Claims, tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED / "claims", tmp_path / "claims")
    out = call(results=tmp_path, write=True)
    assert f"Page: {tmp_path / 'README.md'}" in out
    assert (tmp_path / "claims.csv").read_text().startswith("id,paper,table,")
    assert (tmp_path / "README.md").read_text().startswith("# Every number in print")
    same = (tmp_path / "claims" / "records.jsonl").read_bytes() == (PUBLISHED / "claims" / "records.jsonl").read_bytes()
    assert same


@pytest.mark.parametrize("option", ["paper", "table", "verdict"])
def test_unknown_names_are_refused(call: Claims, option: str) -> None:
    with pytest.raises(InputError, match=rf"--{option} 'nothing'; expected one of "):
        call(**{option: "nothing"})

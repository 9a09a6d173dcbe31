"""The printed numbers as data: what a row must have, and how precisely it is printed."""

from __future__ import annotations

import csv
import io
import json

import pytest

from effbench.claims import printed
from effbench.claims.printed import COLUMNS, COSTS, PAPERS, published, read, steps
from effbench.encoders.registry import registered, setting_defaults
from effbench.errors import InputError


def changed(**values: str) -> str:
    """published.csv with other values in its first row."""
    rows = list(csv.DictReader(io.StringIO(published())))
    rows[0].update(values)
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_every_number_of_the_papers_is_there() -> None:
    claims = read()
    assert len(claims) >= 1214
    assert {claim.paper for claim in claims} == set(PAPERS)
    assert len({claim.id for claim in claims}) == len(claims)


def test_a_claim_is_written_as_it_was_read() -> None:
    rows = list(csv.DictReader(io.StringIO(published())))
    assert [claim.as_row() for claim in read()] == rows


def test_an_id_says_where_the_number_stands() -> None:
    by_id = {claim.id: claim for claim in read()}
    claim = by_id["eco/T1/swin_t/M2F/gflops_encoder"]
    assert (claim.value, claim.input, claim.row) == ("121.69", "coco", "eco/T1/swin_t/M2F")
    assert claim.source == "ECO-M2F, Table 1"
    assert by_id["eco/S-T1/coco/swin_s/Lite-M2F/pq"].source == "ECO-M2F, Table T1"
    assert by_id["proscale/Fig2/swin_t/PRO-SCALE(1,1,1)/pct_encoder"].source == "PRO-SCALE, Fig. 2"
    assert by_id["maskconver/text/Sec-4.2/r50/MaskConver/speedup"].source == "MaskConver, Sec 4.2"


def test_encoders_and_settings_are_ours() -> None:
    named = {(claim.encoder, json.dumps(claim.settings)) for claim in read() if claim.encoder}
    assert len(named) > 10
    for encoder, text in named:
        assert encoder in registered()
        settings = json.loads(text)
        assert not set(settings) - set(setting_defaults(encoder, settings)), (encoder, settings)


def test_both_costs_of_a_row_are_of_one_input() -> None:
    inputs: dict[str, set[str]] = {}
    for claim in read():
        if claim.metric in COSTS and claim.input:
            inputs.setdefault(claim.row, set()).add(claim.input)
    assert inputs
    assert [row for row, found in inputs.items() if len(found) > 1] == []


def test_a_number_has_the_digits_that_its_column_has() -> None:
    step = steps(read())
    assert step["proscale/T1/swin_t/M2F/gflops_encoder"] == 1  # 117.00, where no number from 100 on has decimals
    assert step["proscale/T1/swin_t/M2F/gflops_total"] == pytest.approx(0.1)  # 234.50
    assert step["proscale/T1/swin_t/Lite-M2F/gflops_encoder"] == pytest.approx(0.01)  # 79.78
    assert step["eco/T2/swin_t/Lite-M2F/gflops_encoder"] == pytest.approx(0.01)  # 172.00, beside 281.13
    assert step["proscale/text/Abstract/coco/swin_t/PRO-SCALE(3,3,3)/pct_encoder"] == 1


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(InputError, match="columns"):
        read("a,b\n1,2\n")
    with pytest.raises(InputError, match="a number as printed"):
        read(changed(value="about six"))
    with pytest.raises(InputError, match="is there twice"):
        read(changed(id="eco/T1/swin_t/RT-M2F/miou_p"))
    with pytest.raises(InputError, match="speaks of row nowhere/T1"):
        read(changed(of="nowhere/T1", against="nowhere/T1"))


def test_it_is_the_papers_own_words_nowhere() -> None:
    """Remarks are on the reading; what a sentence says stands in its columns."""
    for claim in read():
        assert "quote" not in claim.remark
        assert len(claim.remark) < 300
        assert json.dumps(claim.settings)


def test_titles_name_the_paper() -> None:
    assert printed.title("eco/T1/swin_t/M2F") == "ECO-M2F T1 swin_t M2F"
    assert printed.title("proscale/text/Sec-1/M2F") == "PRO-SCALE Sec-1 M2F"

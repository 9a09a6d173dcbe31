"""Rows, metrics and inputs under the names that the papers give them."""

from __future__ import annotations

import pytest

from effbench.claims.names import Reader, backbone_name, metric_name, row_name, system_name
from effbench.claims.printed import Claim, read

NAMES = {
    "eco/T5/coco/swin_t/M2F(exit_layer=3,training=plain)/pq": "Baseline (exit 3)",
    "eco/T5/coco/swin_t/M2F(exit_layer=6,training=USD)/pq": "w/ USD (exit 6)",
    "eco/T5/cityscapes/swin_t/M2F(exit_layer=2,training=WSD)/pq": "w/ WSD (exit 2)",
    "eco/T4/swin_t/ECO-M2F(k=5)/pq": "ECO-M2F (K=5)",
    "eco/S-T2/swin_t/ECO-M2F(gate_loss=soft-MSE)/pq": "soft-MSE",
    "eco/T1/swin_t/ECO-M2F(beta=0.02)/pq": "ECO-M2F (β=0.02)",
    "proscale/T6/coco/swin_t/M2F/pq": "original",
    "proscale/T3/swin_t/PRO-SCALE+s1(1,1,1)/pq": "PRO-SCALE + s1 (1,1,1)",
    "proscale/T14/r50/PRO-SCALE(3,3,3)(embedding=avg_pool)/pq": "PRO-SCALE (3,3,3) (LPE by average pooling)",
    "maskconver/T4/r50/MaskConver(cls_embd=False)/pq": "MaskConver (without class embeddings)",
}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.id: claim for claim in read()}


@pytest.mark.parametrize(("id", "name"), NAMES.items())
def test_a_row_is_called_as_in_its_table(claims: dict[str, Claim], id: str, name: str) -> None:
    assert system_name(claims[id]) == name


def test_rows_of_one_table_have_names_of_their_own(claims: dict[str, Claim]) -> None:
    """Within a table, data set, backbone, weights and task, no two rows are called the same."""
    named: dict[tuple[str, ...], str] = {}
    for claim in claims.values():
        if not claim.place:
            where = (claim.paper, claim.table, claim.dataset, backbone_name(claim), claim.task, system_name(claim))
            assert named.setdefault(where, claim.row) == claim.row


def test_a_place_names_paper_table_and_row(claims: dict[str, Claim]) -> None:
    id = "proscale/T6/coco/swin_t/PRO-SCALE(1,1,3)/pct_encoder"
    assert row_name(claims[id]) == "PRO-SCALE, Table 6, COCO Swin-T PRO-SCALE (1,1,3)"
    assert metric_name(claims[id]) == "change of encoder GFLOPs"


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        (
            "PRO-SCALE T1 swin_t Lite-M2F pct_total, -19.83: total against M2F",
            "PRO-SCALE, Table 1, Swin-T Lite-M2F, change of total GFLOPs, -19.83: total against M2F",
        ),
        ("113.92 (ECO-M2F(beta=0.0005))", "113.92 (ECO-M2F (β=0.0005))"),
        ("encoder of T3 swin_t PRO-SCALE+s1(1,1,1)", "encoder of Table 3, Swin-T PRO-SCALE + s1 (1,1,1)"),
        ("counted on coco:first100 and coco", "counted on first 100 images and all 5,000 images"),
        ("proscale(p=(1,1,1), embedding=conv) on swin_t", "PRO-SCALE (1,1,1), without LPE on Swin-T"),
        ("mask2former on r50, in cpu-amd-epyc-2c/coco/full", "M2F on ResNet-50, in cpu-amd-epyc-2c/coco/full"),
        ("PRO-SCALE, Table 1, Swin-T M2F", "PRO-SCALE, Table 1, Swin-T M2F"),
    ],
)
def test_what_a_rule_says_is_said_in_the_papers_names(claims: dict[str, Claim], said: str, plain: str) -> None:
    assert Reader(list(claims.values())).plain(said) == plain

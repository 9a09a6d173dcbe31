"""Which rows are one model, and which are not."""

from __future__ import annotations

from effbench.claims.ledger import Ledger
from effbench.claims.same import cell_key, row_key


def key(ledger: Ledger, id: str) -> object:
    return cell_key(ledger.book, next(c for c in ledger.book.claims if c.id == id))


def test_a_quantized_model_is_another(ledger: Ledger) -> None:
    one = key(ledger, "maskconver/text/Sec-1/mobilenet_mh/MaskConver(img=(256,256),quantized=True)/fps")
    other = key(ledger, "maskconver/text/Sec-4.2/mobilenet_mh/MaskConver-256(img=(256,256))/fps")
    assert one != other


def test_names_and_places_do_not_tell_models_apart(ledger: Ledger) -> None:
    for one, other in (
        ("proscale/T1/swin_t/Lite-M2F/pq", "proscale/T8/panoptic/swin_t/Lite-DETR/pq"),
        ("eco/T1/r50/ReMax/pq", "proscale/T1/r50/ReMaX/pq"),
        (
            "proscale/T3/swin_t/PRO-SCALE+s1(1,1,1)/gflops_encoder",
            "proscale_forum/text/authors-to-1znQ/swin_t/PRO-SCALE(1,1,1)(embedding=conv)/gflops_encoder",
        ),
    ):
        assert key(ledger, one) == key(ledger, other)


def test_weights_tell_qualities_apart_and_not_costs(ledger: Ledger) -> None:
    rows = [c for c in ledger.book.claims if c.backbone == "r50" and c.system == "M2F" and c.dataset == "coco"]
    assert len({row_key(c).pretrain for c in rows}) > 1
    for metric, keys in (("pq", 2), ("gflops_total", 1)):
        assert len({cell_key(ledger.book, c) for c in rows if c.metric == metric}) == keys, metric

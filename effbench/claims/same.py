"""When two printed numbers are of one thing: under other names, in other tables, in the text."""

from __future__ import annotations

from typing import Any

from effbench.claims.context import Book
from effbench.claims.counting import gated
from effbench.claims.printed import COSTS, FAMILY, QUALITY, Claim

NAMES = {"Ours": "PRO-SCALE", "ReMax": "ReMaX", "MaskFormer": "MF"}
SILENT = ("case", "epochs", "lpe", "trc", "quantized", "decoder", "heads_scale", "lpe_pool")
"""Conditions that say nothing more of a row than its settings do, or that one place leaves out."""
SMALL = [256, 256]
TRAINED = 3
"""Where `row_key` has the weights that a backbone begins with."""


def row_key(claim: Claim) -> tuple[Any, ...]:
    """The same for all rows of one model, trained one way."""
    encoder, settings = claim.encoder, dict(claim.settings)
    conditions = {name: value for name, value in claim.conditions.items() if name not in SILENT}
    if conditions.get("training") == "plain" and conditions.get("exit_layer") == 6:
        # trained for its last exit alone and left there, it is the model without exits
        encoder, settings, conditions = settings["base"], {}, {}
    system = "" if encoder else NAMES.get(claim.system, claim.system)
    if conditions.get("img") == SMALL:
        system, conditions = f"{system.removesuffix('-256')}-256", {}
    shown = (str(sorted(fields.items())) for fields in (settings, conditions))
    task = claim.task if not claim.encoder else "panoptic"
    return (claim.dataset, task, claim.backbone, claim.pretrain, system, encoder, *shown)


def cell_key(book: Book, claim: Claim) -> tuple[Any, ...] | None:
    """The same for all printings of one number; None for a number that has no such key."""
    if claim.metric in (*COSTS, *QUALITY, "params_m"):
        if not claim.backbone:
            return None
        key = row_key(claim)
        # weights change no cost, save where a gate decides by what they give
        trained = claim.metric in QUALITY or gated(claim)
        return claim.metric, *(key if trained else (*key[:TRAINED], *key[TRAINED + 1 :]))
    if claim.metric == "fps":
        # a card that one place names and another does not is taken for the paper's one card
        card = claim.hardware if claim.hardware.startswith("Pixel") else FAMILY.get(claim.paper, claim.paper)
        return claim.metric, card, *row_key(claim)
    if not claim.of or any(row.startswith("{") for row in claim.against):
        return None
    of, against = (
        tuple(row_key(next(iter(book.rows[row].values()))) for row in rows) for rows in (claim.of, claim.against)
    )
    return claim.metric, of, against

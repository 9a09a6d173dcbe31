"""When two printed numbers are of one thing: under other names, in other tables, in the text."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from effbench.claims.context import Book
from effbench.claims.counting import gated
from effbench.claims.printed import COSTS, FAMILY, QUALITY, Claim

NAMES = {"Ours": "PRO-SCALE", "ReMax": "ReMaX", "MaskFormer": "MF"}
"""A system as one table calls it -> as another does."""
SILENT = ("case", "s1", "epochs", "lpe", "trc", "decoder", "heads_scale", "lpe_pool", "quoted")
"""Conditions that say nothing more of a row than its settings do, or that one place leaves out."""
SMALL = [256, 256]
"""The input that MaskConver writes behind a system's name in its table and beside it in its text."""


class Model(NamedTuple):
    """A model, trained one way, wherever it is printed: equal for all of its rows."""

    dataset: str
    task: str
    backbone: str
    pretrain: str
    system: str
    encoder: str
    settings: str
    conditions: str


def row_key(claim: Claim) -> Model:
    """The model of the claim's row."""
    encoder, settings = claim.encoder, dict(claim.settings)
    conditions = {name: value for name, value in claim.conditions.items() if name not in SILENT}
    if conditions.get("training") == "plain" and conditions.get("exit_layer") == 6:
        # ECO-M2F's Table 5 has it as an exit: trained for the last alone and left there, it is the model without exits
        encoder, settings, conditions = settings["base"], {}, {}
    system = "" if encoder else NAMES.get(claim.system, claim.system)
    if conditions.get("img") == SMALL:
        system = f"{system.removesuffix('-256')}-256"
        del conditions["img"]
    shown = (str(sorted(fields.items())) for fields in (settings, conditions))
    task = claim.task if not claim.encoder else "panoptic"
    return Model(claim.dataset, task, claim.backbone, claim.pretrain, system, encoder, *shown)


def cell_key(book: Book, claim: Claim) -> tuple[Hashable, ...] | None:
    """The same for all printings of one number; None for a number that has no such key."""
    if claim.metric in (*COSTS, *QUALITY, "params_m"):
        if not claim.backbone:
            return None
        model = row_key(claim)
        # weights change no cost, save where a gate decides by what they give
        trained = claim.metric in QUALITY or gated(claim)
        return claim.metric, model if trained else model._replace(pretrain="")
    if claim.metric == "fps":
        # a card that one place names and another does not is taken for the paper's one card
        card = claim.hardware if claim.hardware.startswith("Pixel") else FAMILY.get(claim.paper, claim.paper)
        return claim.metric, card, row_key(claim)
    if not claim.of or any(row.startswith("{") for row in claim.against):
        return None
    of, against = (
        tuple(row_key(next(iter(book.rows[row].values()))) for row in rows) for rows in (claim.of, claim.against)
    )
    return claim.metric, of, against

"""The part of a report that is about early exit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from effbench.claims.printed import Claim, read
from effbench.report import (
    early_exit,
    early_exit_costs,
    early_exit_figures,
    early_exit_gates,
    early_exit_images,
    early_exit_printed,
)
from effbench.report.markdown import markdown, section
from effbench.report.table import measured
from effbench.study.cell import Cell
from effbench.study.record import Record
from effbench.study.suite import Published

EXITS, IMAGES = "exits", "images"
"""Beginnings of the figures' file names; the base's name follows."""


def sections(records: Sequence[Record], published: Sequence[Published], folder: Path) -> list[str]:
    """Markdown of what a study of early exit has found, with a system's figures in `folder`; of others nothing."""
    claims = read()
    return [
        *_figures(records, folder),
        *section(
            "Quality at every exit",
            "PQ in percent on the validation images, mean over seeds (lowest to highest). `weighted`: the loss of "
            "every exit counts, in proportion to its layer (step A). `uniform`: all alike. `last`: the last exit alone "
            "is trained, the others are read off all the same.",
            early_exit.exits_table(records),
        ),
        *section(
            "What training for exits buys",
            "Points of PQ: mean of the seeds' differences, with the 95% interval of the paired bootstrap over the "
            "validation images, then the difference of every seed.",
            early_exit.losses_table(records),
        ),
        *section(
            "Table 5 of ECO-M2F",
            "PQ in percent: what is printed for COCO and Cityscapes beside ours, to be compared by direction.",
            early_exit_printed.exits_table(records, claims),
        ),
        *section(
            "Where images are best",
            "Share of the images whose PQ is highest at an exit, the earliest of several; in brackets the mean PQ of "
            "all images there. From this derived data set (step B) gates are trained.",
            early_exit.best_exits_table(records),
        ),
        *section(
            "Gates",
            "One linear layer each, trained on the derived data set (step C): mean exit of the targets and of the "
            f"choices, and PQ in percent of the choices on validation images. {early_exit_gates.monotony(records)}",
            early_exit_gates.gates_table(records),
        ),
        *section(
            "What the gate is worth",
            f"{early_exit_gates.verdict(records)} Points of PQ, with 95% bootstrap intervals over the validation "
            "images, of one model and one seed of the gate: a 95% interval misses once in twenty times, and gates are "
            "many. First against fixed exits, paired. `elsewhere`: images that do not leave after the gate's commonest "
            "exit. The neighbouring exits are the two around the gate's mean exit, in proportion.",
            early_exit_gates.fixed_table(records),
        ),
        *section(
            "Against chance and an oracle",
            "Random: the gate's own exits dealt to the images by chance. The oracle knows every image's PQ, goes no "
            "deeper than the gate on average, and maximises the mean PQ of an image, in which its gain and the share "
            "are measured; no share is named where that gain is not surely above zero.",
            early_exit_gates.value_table(records),
        ),
        *section(
            "The models as they run",
            "Percent on the validation images, from whole passes: at a fixed exit, or where the gate says. The last "
            "column says whether every image has the PQ that step B derived for it.",
            early_exit_gates.scores_table(records),
        ),
        *_printed(records, claims),
        *section(
            "The ledger",
            "Gated and full passes of the same images in turn, batch 1, in processes that took turns: median of their "
            "means, and lowest to highest of what they save. Layers are counted where they run; MACs are of the "
            "complete convention, the gate's included. `gate` is its layer and the wait for its answer; the pooling "
            "before it is a mean over a few tokens. PQ is that of step B at the exit that was taken.",
            early_exit_costs.ledger_table(records),
        ),
        *section(
            "Why time saved is not MACs saved",
            "Of the ledger's encoders: what a GMAC takes on average, and what one takes in the layers that the gate "
            "left out. Where these run slower per MAC than the rest (projections, pixel embedding), more time than "
            "MACs is saved; the gate, its wait included, takes its share back.",
            early_exit_costs.rates_table(records),
        ),
        *section(
            "Whole batches",
            "The encoder alone, gated and in full in turn, on the first images in batches: images that leave early "
            "shrink the batch.",
            early_exit_costs.batches_table(records),
        ),
        *section(
            "What the steps take",
            "Of the model that gates are of. Step B is zero where it was found in the cache.",
            early_exit_costs.steps_table(records),
        ),
        *section(
            "Multiply-accumulates at every exit",
            "GMACs per image in the papers' convention, encoder / total.",
            early_exit_costs.macs_table(records),
        ),
        *section(
            "What printed costs imply",
            "The mean exit that a printed cost of a gated encoder means, on the line through our counts at its exits.",
            early_exit_costs.implied_table(records, published),
        ),
    ]


def _figures(records: Sequence[Record], folder: Path) -> list[str]:
    """Every system's two figures; what an earlier report drew is gone."""
    for old in (*folder.glob(f"{EXITS}*.png"), *folder.glob(f"{IMAGES}*.png")):
        old.unlink()
    found = []
    derived = {Cell.from_json(r.cell).system: Cell.from_json(r.cell) for r in measured(records, "derivation")}
    for system, cell in derived.items():
        name = cell.settings["base"]
        if early_exit_figures.draw(records, system, folder / f"{EXITS}-{name}.png"):
            found.append(f"![Best exits, utility, and quality against cost: {name}]({EXITS}-{name}.png)")
        if early_exit_images.draw(records, system, folder / f"{IMAGES}-{name}.png"):
            found.append(f"![Images, and where they left: {name}]({IMAGES}-{name}.png)")
    return found


def _printed(records: Sequence[Record], claims: Sequence[Claim]) -> list[str]:
    """The paper's tables one after another, under one heading."""
    found = early_exit_printed.tables(records, claims)
    text = (
        "Quality in print is COCO's or Cityscapes', ours is that of the narrow models on this study's data: compare "
        "directions. A printed cost of a gated encoder implies its mean exit, on the line through our counts; at our "
        "gate's mean exit the papers' model would cost what stands last."
    )
    tables = [part for source, frame in found.items() for part in (f"### {source}", markdown(frame))]
    return ["## ECO-M2F's tables, row by row", text, *tables] if found else []

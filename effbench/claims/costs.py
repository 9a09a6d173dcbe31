"""Verdicts on printed GFLOPs: counted again at the input that the row was really counted on, fixed per row."""

from __future__ import annotations

from collections.abc import Iterator

from effbench.claims.context import (
    CLOSE,
    CONTRADICTED,
    INFERRED,
    NEEDS_DATA,
    NOT_COMPARABLE,
    REPRODUCED,
    Book,
    Verdict,
    component,
)
from effbench.claims.counting import (
    CITYSCAPES,
    COCO,
    FIRST_30,
    FIRST_100,
    LIKE_FOR_LIKE,
    SAME_WIDTHS,
    cell_of,
    countable,
    exits,
    gated,
)
from effbench.claims.printed import COSTS, Claim
from effbench.claims.same import cell_key
from effbench.probes.mac_sizes import size_protocol
from effbench.report.early_exit_costs import implied_exit
from effbench.study.record import Record

MASKCONVER = "maskconver"
EXIT_MARGIN = 0.02
"""Layers by which an implied mean exit may lie outside the exits: what rounding in print can do."""


def input_name(size: str, metric: str) -> str:
    """An input in words; under coco:firstN it is another one for the encoder than for the total."""
    if size in (FIRST_30, FIRST_100):
        images = size.removeprefix("coco:first")
        if metric == "gflops_total":
            return f"mean of val2017's first {images} images"
        height, width = size_protocol(size).inputs[-1].padded
        return f"image {images} of val2017, {height}x{width}"
    return {COCO: "mean of val2017's 5,000 images", CITYSCAPES: "1024x2048"}.get(size, size)


def verdict(book: Book, claim: Claim) -> Verdict:
    """The verdict on a claim of `COSTS`."""
    if claim.paper == MASKCONVER and claim.encoder != "mask2former":
        return _own_heads(book, claim)
    if not countable(claim):
        return _foreign(book, claim)
    if gated(claim):
        return _gated(book, claim)
    return _counted(book, claim)


def _counted(book: Book, claim: Claim) -> Verdict:
    alike = book.alike(claim, claim.metric)
    ours = book.cost(claim, claim.input, claim.metric)
    if ours is None:
        reason = (
            f"the encoder is counted on {SAME_WIDTHS[claim.backbone]}'s widths, which are the same; the total is not: "
            "timm's MViTv2-T attends globally, the papers' in windows"
        )
        return Verdict(NOT_COMPARABLE, reason, proof="effbench has not this backbone's form")
    records = tuple(book.counts.get(cell_of(claim, size)) for size in _sizes(claim))
    where = input_name(claim.input, claim.metric)
    if claim.backbone in SAME_WIDTHS:
        where += f", on {SAME_WIDTHS[claim.backbone]}'s widths, which are the same"
    say = f"{ours:.2f} here, {where}"
    reason = f"{say}: {_off(claim, ours)} off"
    if claim.encoder == INFERRED:
        return _inferred(book, claim, reason, ours, alike, records)
    if book.agrees(claim, ours):
        how = "to the digits in print" if book.follows(claim, ours) else f"{_off(claim, ours)} off"
        return Verdict(REPRODUCED, f"{say}: {how}", ours, alike, records=records)
    if "quoted" in claim.conditions:
        say = f"{alike:.2f} here over val2017; quoted from {claim.conditions['quoted']}, and not of the caption's input"
        over = book.counts.get(cell_of(claim, LIKE_FOR_LIKE[claim.dataset]))
        return Verdict(NOT_COMPARABLE, say, alike, alike, records=(over,))
    kind, proof = _proof(book, claim)
    return Verdict(CONTRADICTED, _joined(reason, proof), ours, alike, records=records, kind=kind, proof=proof)


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _sizes(claim: Claim) -> tuple[str, ...]:
    return (claim.input,) if claim.input not in (FIRST_30, FIRST_100) else (claim.input, COCO)


def _off(claim: Claim, ours: float) -> str:
    return f"{100 * (claim.number / ours - 1):+.2f}%"


def _inferred(
    book: Book, claim: Claim, reason: str, ours: float, alike: float | None, records: tuple[Record, ...]
) -> Verdict:
    """RT-M2F: no code, and no word on how RT-DETR's encoder was put under the decoder."""
    if claim.metric == "gflops_encoder":
        proof = "under-specified: of the forms that fit (branches fused, no 3x3 output convolution) the closest"
        return Verdict(NOT_COMPARABLE, f"{reason}; {proof}", ours, alike, records=records, proof=proof)
    encoder, rest = book.rows[claim.row].get(COSTS[0]), _rest(book, claim, claim.input)
    if encoder is None:
        return Verdict(NOT_COMPARABLE, f"{reason}; under-specified", ours, alike, records=records, proof="no encoder")
    proof = (
        f"backbone, decoder and the rest cost {rest:.2f} with any encoder at this input, and the row leaves "
        f"{claim.number - encoder.number:.2f} for them, unless RT-M2F also changes the decoder"
    )
    return Verdict(CONTRADICTED, f"{proof}; {reason}", ours, alike, records=records, proof=proof)


def _gated(book: Book, claim: Claim) -> Verdict:
    """A gated row: its encoder's cost says how deep images went, and its total must be that and a constant."""
    first, last = exits(claim)
    cells = {layer: cell_of(claim, claim.input, layer) for layer in (first, last)}
    counted = {layer: book.counts.papers(cell) for layer, cell in cells.items()}
    records = tuple(book.counts.get(cell) for cell in cells.values())
    encoder = book.rows[claim.row].get(COSTS[0])
    if encoder is None:
        return Verdict(NOT_COMPARABLE, "the row prints no encoder, so that nothing says how deep its images went")
    depth = implied_exit(encoder.number, {layer: parts["encoder"] for layer, parts in counted.items()})
    where = input_name(claim.input, claim.metric)
    if claim.metric == COSTS[0]:
        say = f"mean exit {depth:.2f} of {first} to {last}, by our counts at its exits ({where})"
        if not first - EXIT_MARGIN <= depth <= last + EXIT_MARGIN:
            return Verdict(CONTRADICTED, f"{say}: no gate can give it", mean_exit=depth, records=records)
        say = f"{say}; whether its gate goes so deep, data and weights must say"
        return Verdict(NEEDS_DATA, say, mean_exit=depth, records=records)
    rest = counted[last]["total"] - counted[last]["encoder"]
    ours = encoder.number + rest
    left = claim.number - encoder.number
    say = f"its encoder's {encoder.value} and our {rest:.2f} for the rest ({where}) make {ours:.2f}"
    # the encoder in print is rounded, too
    if book.agrees(claim, ours) or abs(ours - claim.number) <= (book.steps[claim.id] + book.steps[encoder.id]) / 2:
        return Verdict(REPRODUCED, f"{say}, at mean exit {depth:.2f}", ours, mean_exit=depth, records=records)
    say = f"{say}: {_off(claim, ours)} off; in print total minus encoder is {left:.2f} (mean exit {depth:.2f})"
    return Verdict(CONTRADICTED, say, ours, mean_exit=depth, records=records)


def _own_heads(book: Book, claim: Claim) -> Verdict:
    """MaskConver's models have heads and a pyramid of their own; what its encoders differ by can be compared."""
    if claim.encoder != "convnext_unet":
        return Verdict(NOT_COMPARABLE, f"effbench does not build this {claim.system}; as printed")
    base = _reference(book, claim)
    reason = "effbench has MaskConver's encoder, under Mask2Former's decoder, not its heads"
    if base is None or base.id == claim.id:
        return Verdict(NOT_COMPARABLE, reason)
    cells = [cell_of(each, claim.input) for each in (claim, base)]
    ours = [book.counts.papers(cell)[component(claim.metric)] for cell in cells]
    records = tuple(book.counts.get(cell) for cell in cells)
    say = f"{reason}; against {base.row.rpartition('/')[2]} {claim.number - base.number:+g} in print"
    return Verdict(NOT_COMPARABLE, f"{say}, {ours[0] - ours[1]:+.2f} here at {claim.input}", records=records)


def _reference(book: Book, claim: Claim) -> Claim | None:
    """The last row of the claim's table that has the same encoder: the paper's own choice."""
    rows = [c for c in book.claims if (c.paper, c.table, c.metric) == (claim.paper, claim.table, claim.metric)]
    return next((c for c in reversed(rows) if c.encoder == claim.encoder), None)


def _foreign(book: Book, claim: Claim) -> Verdict:
    found = _another(book, claim) if claim.metric == COSTS[0] else ""
    return Verdict(NOT_COMPARABLE, _joined(f"effbench does not build this {claim.system}; as printed", found))


def _proof(book: Book, claim: Claim) -> tuple[str, str]:
    """What shows that the print is wrong and not our count, with its kind of contradiction."""
    found = _another(book, claim)
    if found:
        return "another's number", found
    encoder = book.rows[claim.row].get(COSTS[0])
    if claim.metric == COSTS[1] and encoder is not None:
        ours, alike = (_rest(book, claim, size) for size in (claim.input, LIKE_FOR_LIKE[claim.dataset]))
        left = claim.number - encoder.number
        if abs(left - alike) <= 2 * CLOSE * claim.number < abs(left - ours):
            over = f"the rest over all of val2017 ({alike:.2f})"
            return "", f"total minus encoder is {left:.2f}, {over}: total and encoder are of two inputs"
    return "", _elsewhere(book, claim)


def _another(book: Book, claim: Claim) -> str:
    """Whose count the number is, if it is one's or two's."""
    found = list(_fits(book, claim))
    return f"the number is our count of {' or of '.join(found)}" if 0 < len(found) <= 2 else ""


def _elsewhere(book: Book, claim: Claim) -> str:
    """Where print has our count of the same model."""
    for other in book.claims:
        if (
            other.metric == claim.metric
            and other.input == claim.input
            and cell_key(book, other) == cell_key(book, claim)
        ):
            ours = book.cost(other, other.input, other.metric)
            if ours is not None and book.agrees(other, ours):
                return f"wrong in print: {other.source} has {other.value} for the same model"
    return ""


def _rest(book: Book, claim: Claim, size: str) -> float:
    """What backbone, decoder and the rest cost at an input."""
    encoder, total = (book.cost(claim, size, metric) or 0.0 for metric in COSTS)
    return total - encoder


def _fits(book: Book, claim: Claim) -> Iterator[str]:
    """The rows without a gate whose count, at their own input, the claim prints."""
    builds = claim.encoder or ("proscale" if "PRO-SCALE" in claim.system else "mask2former")
    said = set()
    for other in book.claims:
        if other.metric != claim.metric or not countable(other) or gated(other):
            continue
        if not claim.encoder and (other.encoder != builds or "layers" in other.settings):
            continue
        ours = book.cost(other, other.input, other.metric)
        if ours is None or abs(ours - claim.number) >= 5 * CLOSE * ours:
            continue
        cell = cell_of(other, other.input)
        if (book.follows(claim, ours) or abs(ours - claim.number) < CLOSE / 2 * ours) and cell.id not in said:
            said.add(cell.id)
            yield f"{cell.system} on {cell.backbone}, {input_name(cell.size, claim.metric)} ({ours:.2f})"

"""What printed costs say against each other: rests, inputs, names, the way that settings and speeds go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from effbench.claims import costs
from effbench.claims.context import CLOSE, CONTRADICTED, EPSILON, Book, Verdict
from effbench.claims.contradiction import Contradiction, grouped
from effbench.claims.counting import COCO, gated
from effbench.claims.printed import COSTS, FAMILY, Claim, title
from effbench.claims.same import row_key

RESTS_APART = 2 * CLOSE
"""Share of the total by which rests must differ to be told apart: each may be off by `CLOSE`."""
LESS = 0.95
"""A cost is lower than another when it is less than this share of it."""


def among_costs(book: Book, verdicts: Mapping[str, Verdict]) -> Iterator[Contradiction]:
    """Everything found among printed costs."""
    yield from _rests(book)
    yield from _gated_totals(book, verdicts)
    yield from _same_encoder(book)
    yield from _two_names(book)
    yield from _inputs(book)
    yield from _wrong_way(book)
    yield from _slower(book)
    yield from _fixed_exits(book, verdicts)


def _cost_rows(book: Book) -> list[tuple[Claim, Claim]]:
    """(encoder, total) of every row that prints both."""
    both = [row for row in book.rows.values() if all(metric in row for metric in COSTS)]
    return [(row[COSTS[0]], row[COSTS[1]]) for row in both]


def _base(claim: Claim) -> str:
    """What stays of a model when its encoder is replaced."""
    return "" if claim.encoder else claim.system.removeprefix("ECO-").split(" + ")[0]


def _rests(book: Book) -> Iterator[Contradiction]:
    pairs = {encoder.row: (encoder, total) for encoder, total in _cost_rows(book)}
    for group in grouped(
        [encoder for encoder, _ in pairs.values()],
        lambda c: (c.paper, c.table, c.place, c.dataset, c.backbone, c.pretrain, _base(c)),
    ):
        ranges, shown = [], []
        for encoder in group:
            total = pairs[encoder.row][1]
            rest = total.number - encoder.number
            slack = (book.steps[encoder.id] + book.steps[total.id]) / 2 + RESTS_APART / 2 * total.number
            ranges.append((rest - slack, rest + slack))
            shown.append(f"{rest:.2f} ({encoder.row.rpartition('/')[2]})")
        if max(low for low, _ in ranges) > min(high for _, high in ranges):
            counted_on = sorted({c.input for c in group if c.input})
            why = f"; the rows were counted on {' and '.join(counted_on)}" if len(counted_on) > 1 else ""
            if any(size.startswith("coco:first") for size in counted_on):
                why += "; a mean total less the last image's encoder is no rest"
            where = title(group[0].row.rpartition("/")[0])
            yield Contradiction("rest", tuple(c.id for c in group), f"{where}: {', '.join(shown)}{why}")


def _gated_totals(book: Book, verdicts: Mapping[str, Verdict]) -> Iterator[Contradiction]:
    for encoder, total in _cost_rows(book):
        if gated(total) and verdicts[total.id].verdict == CONTRADICTED:
            says = f"{title(total.row)}: total {total.value}; {verdicts[total.id].reason}"
            yield Contradiction("total and encoder", (encoder.id, total.id), says)


def _same_encoder(book: Book) -> Iterator[Contradiction]:
    counted = [
        c for c in book.claims if c.metric == COSTS[0] and c.encoder and not gated(c) and book.alike(c, c.metric)
    ]
    for group in grouped(
        counted, lambda c: (c.paper, c.table, c.place, c.dataset, round(book.alike(c, COSTS[0]) or 0, 6))
    ):
        for one, other in combinations(group, 2):
            apart = abs(one.number - other.number) > max(book.steps[c.id] for c in (one, other)) + EPSILON
            if one.backbone != other.backbone and apart:
                inputs = f"; counted on {one.input} and {other.input}" if one.input != other.input else ""
                says = f"{title(one.row)} {one.value}, {title(other.row)} {other.value}{inputs}"
                yield Contradiction("same encoder", (one.id, other.id), says)


def _two_names(book: Book) -> Iterator[Contradiction]:
    """Rows of one paper that print the same PQ and costs under other names: one of the names is not theirs."""
    whole = [row for row in book.rows.values() if {"pq", *COSTS} <= row.keys()]
    for group in grouped([row["pq"] for row in whole], lambda c: (c.paper, *_values(book, c))):
        named: dict[str, Claim] = {}
        for claim in group:
            named.setdefault(claim.system.split(" + (")[0], claim)
        if len(named) > 1:
            yield Contradiction(
                "two names", tuple(c.id for c in group), "; ".join(title(c.row) for c in named.values())
            )


def _values(book: Book, claim: Claim) -> tuple[float, ...]:
    return tuple(book.rows[claim.row][metric].number for metric in ("pq", *COSTS))


def _inputs(book: Book) -> Iterator[Contradiction]:
    counted = [c for c in book.claims if c.metric in COSTS and c.input and c.dataset == "coco" and not c.place]
    for group in grouped([c for c in counted if c.metric == COSTS[1]], lambda c: (c.paper, c.table)):
        by_input: dict[str, list[Claim]] = {}
        for claim in group:
            by_input.setdefault(claim.input, []).append(claim)
        if len(by_input) > 1 or (set(by_input) != {COCO} and "mean" in group[0].input_stated):
            shown = []
            for size, own in by_input.items():
                names = ", ".join(f"{c.backbone} {c.row.rpartition('/')[2]}" for c in own)
                shown.append(f"{costs.input_name(size, group[0].metric)}: {names}")
            says = f"{group[0].source} (stated: {group[0].input_stated or 'nothing'}): {'; '.join(shown)}"
            yield Contradiction("inputs", tuple(c.id for c in group), says)


def _wrong_way(book: Book) -> Iterator[Contradiction]:
    """A gate with fewer exits (k) should not cost more, nor one with a higher price of a layer (beta)."""
    rows = [c for c in book.claims if c.metric == COSTS[0] and gated(c) and not c.place]

    def k(claim: Claim) -> float:
        return float(claim.settings.get("k") or 6)

    def beta(claim: Claim) -> float:
        return float(claim.conditions.get("beta", 0))

    for group in grouped(rows, lambda c: (c.paper, c.table, c.dataset, c.backbone, c.settings["base"])):
        for one, other in combinations(group, 2):
            fewer = (
                k(one) != k(other) and beta(one) == beta(other) and (k(one) - k(other)) * (one.number - other.number)
            )
            dearer = beta(one) != beta(other) and (beta(other) - beta(one)) * (one.number - other.number)
            if (fewer and fewer < 0) or (dearer and dearer < 0):
                names = [f"{title(c.row)} {c.value}" for c in (one, other)]
                yield Contradiction("wrong way", (one.id, other.id), f"encoder: {', '.join(names)}")


def _slower(book: Book) -> Iterator[Contradiction]:
    encoder_of: dict[object, Claim] = {}
    for claim in book.claims:
        if claim.metric == COSTS[0] and not claim.place:
            encoder_of.setdefault((FAMILY.get(claim.paper, claim.paper), row_key(claim)), claim)
    rows = [c for c in book.claims if c.metric == "fps" and not c.place and c.paper not in FAMILY]
    for group in grouped(rows, lambda c: (c.paper, c.dataset, c.backbone)):
        said = set()
        for one, other in combinations(group, 2):
            costs_of = [encoder_of.get((c.paper, row_key(c))) for c in (one, other)]
            if costs_of[0] is None or costs_of[1] is None or row_key(one) == row_key(other):
                continue
            (light, a), (heavy, b) = sorted(
                zip((one, other), (costs_of[0], costs_of[1]), strict=True), key=lambda pair: pair[1].number
            )
            key = (row_key(light), row_key(heavy), light.value, heavy.value)
            if a.number < LESS * b.number and light.number < heavy.number and key not in said:
                said.add(key)
                says = (
                    f"{title(light.row)}: {a.number:g} GFLOPs, {light.value} FPS; "
                    f"{title(heavy.row)}: {b.number:g} GFLOPs, {heavy.value} FPS"
                )
                yield Contradiction("slower", (light.id, heavy.id), says)


def _fixed_exits(book: Book, verdicts: Mapping[str, Verdict]) -> Iterator[Contradiction]:
    """The gate's PQ against the line through the PQ of the same model's fixed exits beside its mean exit."""
    fixed: dict[tuple[str, str], dict[int, Claim]] = {}
    for claim in book.claims:
        if claim.metric == "pq" and claim.conditions.get("training") == "WSD":
            layer = int(claim.conditions["exit_layer"])
            fixed.setdefault((claim.dataset, claim.backbone), {})[layer] = claim
    said = set()
    for row in book.rows.values():
        encoder, pq = row.get(COSTS[0]), row.get("pq")
        if encoder is None or pq is None or not gated(encoder) or encoder.table not in ("T3", "T4"):
            continue
        exits, depth = fixed.get((pq.dataset, pq.backbone)), verdicts[encoder.id].mean_exit
        if exits is None or depth is None or not min(exits) <= depth <= max(exits):
            continue
        below = min(int(depth), max(exits) - 1)
        low, high = exits[below], exits[below + 1]
        line = low.number + (depth - below) * (high.number - low.number)
        # the line is as good as its ends, which are rounded as the gate's PQ is
        rounding = (book.steps[pq.id] + max(book.steps[low.id], book.steps[high.id])) / 2
        key = pq.dataset, pq.backbone, pq.value, encoder.value
        if pq.number + rounding < line and key not in said:
            said.add(key)
            says = f"{title(pq.row)}: PQ {pq.value} at mean exit {depth:.2f}, where fixed exits give {line:.2f}"
            yield Contradiction("fixed exits", (pq.id, encoder.id), says)

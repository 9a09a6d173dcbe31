"""What the rules share: the claims, the precision of each, our counts, and the four verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from effbench.claims.counting import LIKE_FOR_LIKE, SAME_WIDTHS, Counts, cell_of, gated
from effbench.claims.printed import COSTS, Claim, by_row, steps
from effbench.study.record import Record

REPRODUCED, CONTRADICTED = "reproduced", "contradicted"
NOT_COMPARABLE, NEEDS_DATA = "not comparable", "needs data and weights"
VERDICTS = (REPRODUCED, CONTRADICTED, NOT_COMPARABLE, NEEDS_DATA)
CLOSE = 1e-3
"""Share of a count by which a printed one may miss it, where its digits ask for more."""
EPSILON = 1e-9
INFERRED = "rt"
"""The encoder whose form no paper states: ours is the one that fits what they print of it best."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a claim.

    Attributes:
        verdict, reason: one of `VERDICTS`, and why.
        ours: our number for it, in the claim's unit, at the input that the claim was really counted on.
        like_for_like: our number where all systems are comparable: over the data set's validation images.
        mean_exit: of a gated row, the mean layer after which images leave, as its encoder's cost implies.
        records: behind the numbers.
        kind: of a number that the print's own cells or our counts show wrong, its kind in `contradiction.KINDS`.
        proof: of a cost that is not reproduced, what shows that the print and not our count is wrong, or open.
    """

    verdict: str
    reason: str
    ours: float | None = None
    like_for_like: float | None = None
    mean_exit: float | None = None
    records: tuple[Record, ...] = ()
    kind: str = ""
    proof: str = ""


@dataclass(frozen=True)
class Book:
    """The claims, our counts and our timed runs.

    Attributes:
        claims: all that is printed, in order.
        counts: ours.
        runs: name -> records of one timed run of ours.
    """

    claims: Sequence[Claim]
    counts: Counts
    runs: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, dict[str, Claim]]:
        """row -> metric -> claim."""
        return by_row(self.claims)

    @cached_property
    def steps(self) -> dict[str, float]:
        """id -> one unit of its last digit."""
        return steps(self.claims)

    @cached_property
    def _signed(self) -> set[tuple[str, str, str]]:
        return {(c.paper, c.table, c.metric) for c in self.claims if c.value.startswith("-")}

    def shown(self, claim: Claim, change: float) -> float:
        """A change as the claim prints it: with its sign in a column that has signs, else as its size alone."""
        return change if (claim.paper, claim.table, claim.metric) in self._signed else abs(change)

    def follows(self, claim: Claim, value: float) -> bool:
        """Whether `value` rounds to the printed number; of a number that is only about, to within a whole digit."""
        step = self.steps[claim.id]
        return abs(value - claim.number) <= (step if "~" in claim.about else step / 2) + EPSILON

    def slack(self, claim: Claim) -> float:
        """What a printed cost may be off by: half a unit of its last digit or `CLOSE`, whichever is more."""
        half = self.steps[claim.id] / 2
        return max(half, CLOSE * claim.number) if claim.metric in COSTS else half

    def agrees(self, claim: Claim, ours: float) -> bool:
        """Whether our count rounds to the printed one or is within `CLOSE` of it."""
        return self.follows(claim, ours) or abs(ours - claim.number) <= CLOSE * ours

    def cost(self, claim: Claim, size: str, metric: str) -> float | None:
        """Our GMACs of the claim's row at an input; None where effbench cannot count it, or images leave at will."""
        if not claim.encoder or gated(claim) or not size or claim.dataset not in LIKE_FOR_LIKE:
            return None
        if metric == "gflops_total" and claim.backbone in SAME_WIDTHS:
            return None
        return self.counts.papers(cell_of(claim, size))[component(metric)]

    def alike(self, claim: Claim, metric: str) -> float | None:
        """Our GMACs of the claim's row over its data set's validation images."""
        return self.cost(claim, LIKE_FOR_LIKE.get(claim.dataset, ""), metric)


def component(metric: str) -> str:
    """The component of our counts that a metric of `COSTS` names."""
    return metric.removeprefix(COSTS[0].removesuffix("encoder"))

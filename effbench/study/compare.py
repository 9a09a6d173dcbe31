"""Whether something became slower: the one place where a change of a time is called a change.

The unit of replication is a fresh process: each gives one number, the median of its samples. Two sets of processes
are compared by the ratio of their medians, with a bootstrap interval over the processes (over pairs of neighbours in
time where the sides took turns), and against what this machine does when nothing has changed: its A/A noise floor, see
effbench/study/aa.py.

A verdict on a time is one of
- "slower", "faster": the 99% interval excludes 1, and the ratio lies outside the noise floor;
- "same": the interval holds 1 and lies within the stated size, so that a change of that size is ruled out;
- "ambiguous": everything else, with the reason. Fewer than five processes on a side; an interval that excludes 1 by a
  ratio within the floor, or where no floor is known; an interval that holds 1 and reaches beyond the stated size.

The verdict on a count (MACs, parameters, bytes) is "equal" or "changed", and "ambiguous" where a side disagrees with
itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from effbench.errors import InputError

LEVEL = 0.99
SIZE = 0.05
"""The size of a change that "same" rules out, unless another is stated."""
LEAST_PROCESSES = 5
"""Per side: of four against four, one order in 70 has all of one side first, too many for a 99% interval."""
RESAMPLES = 9999
COUNTS = ("MAC", "parameters", "B", "bytes", "launches")
TIMES = ("s", "J")

Values = Sequence[float] | npt.NDArray[np.float64]
Floor = Callable[["Quantity", "Quantity"], float | None]
"""The noise floor of a comparison as a share, 0.02 for 2%; None where nobody has measured it."""


class Ratio(NamedTuple):
    """Of after to before, with its bootstrap interval."""

    ratio: float
    low: float
    high: float


class Verdict(NamedTuple):
    """The word, and why it is not plainer."""

    word: str
    reason: str = ""


def ratio_of_medians(
    before: Values,
    after: Values,
    *,
    paired: bool = False,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Ratio:
    """Ratio of the medians of two sets of processes, with its percentile bootstrap interval.

    Args:
        before, after: one positive number per process, in one unit; at least two on each side.
        paired: the i-th processes of both sides are neighbours in time, and are drawn together.
        level: of the interval.
        resamples, seed: of the bootstrap; the same give the same interval.
    """
    found = bootstrap(
        (after, before),
        _ratio,
        n_resamples=resamples,
        vectorized=True,
        paired=paired,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return Ratio(float(_ratio(np.asarray(after), np.asarray(before))), float(low), float(high))


def _ratio(after: Any, before: Any, axis: int = -1) -> Any:
    return np.median(after, axis=axis) / np.median(before, axis=axis)


def judge(found: Ratio, floor: float | None, size: float = SIZE) -> Verdict:
    """The verdict on a time from enough processes; `floor` and `size` are shares, as 0.05 for 5%."""
    ratio, low, high = found
    if low > 1 or high < 1:
        if floor is None:
            return Verdict("ambiguous", "the noise floor of this machine is not known: run `effbench aa` on it")
        if 1 / (1 + floor) <= ratio <= 1 + floor:
            return Verdict("ambiguous", f"a change, but within the noise floor of {floor:.1%}")
        return Verdict("slower" if ratio > 1 else "faster")
    if high > 1 + size or low < 1 / (1 + size):
        return Verdict("ambiguous", f"too few processes, or too noisy, to rule out a change of {size:.0%}")
    return Verdict("same")


@dataclass(frozen=True)
class Quantity:
    """What one side has of one thing that was measured.

    Attributes:
        name: for people.
        unit: one of `COUNTS` or `TIMES`.
        values: one per process: the median of its samples, or what it counted.
        started: when each process began, ISO 8601.
        environment: of the processes, with all that a time may depend on.
        device: "cpu" or "cuda".
        implementation: which implementation of each operator ran.
        lost: why there are no values, where the measurement was tried and failed.
    """

    name: str
    unit: str
    values: Sequence[float]
    started: Sequence[str] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    implementation: Mapping[str, str] = field(default_factory=dict)
    lost: str | None = None

    @property
    def counted(self) -> bool:
        """Whether it is compared exactly."""
        return self.unit in COUNTS


@dataclass(frozen=True)
class Change:
    """What became of one quantity.

    Attributes:
        name, unit, before, after: medians over the processes, or the two counts.
        processes: how many on each side.
        ratio, floor: of a time; None where they are not known.
        interleaved: whether the two sides' processes took turns.
        verdict, reason: see the head of this file; "failed" where the measurement succeeded before only.
    """

    name: str
    unit: str
    before: float | None
    after: float | None
    processes: tuple[int, int]
    verdict: str
    reason: str = ""
    ratio: Ratio | None = None
    floor: float | None = None
    interleaved: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """All changes, and what was not compared: its name, and why."""

    changes: Sequence[Change]
    left_out: Sequence[tuple[str, str]]

    @property
    def exit_code(self) -> int:
        """0 nothing changed for the worse, 1 slower, changed or failed, 3 ambiguous, 4 nothing to compare."""
        words = {change.verdict for change in self.changes}
        if not words:
            return 4
        if words & {"slower", "changed", "failed"}:
            return 1
        return 3 if "ambiguous" in words else 0


Side = Mapping[Any, Quantity]
"""What was measured -> the quantity; the keys of two sides are the same where they can be compared."""


def compare(before: Side, after: Side, floor: Floor, size: float = SIZE, counts_only: bool = False) -> Comparison:
    """Compare what both sides have.

    `counts_only` leaves the times out; then the environments may differ, on which counts do not depend.

    Raises InputError when the environments differ.
    """
    changes, left_out, pairs = [], [], []
    for key in dict.fromkeys((*before, *after)):
        one, other = before.get(key), after.get(key)
        known = one or other
        assert known is not None
        if counts_only and not known.counted:
            continue
        if one is None or other is None:
            left_out.append((known.name, f"only {'before' if one else 'after'} has it"))
        elif not one.values:
            left_out.append((known.name, f"nothing before: {one.lost}"))
        elif not other.values:
            changes.append(Change(known.name, known.unit, None, None, (len(one.values), 0), "failed", other.lost or ""))
        elif not one.counted and min(*one.values, *other.values) <= 0:
            left_out.append((known.name, "a ratio needs positive numbers"))
        else:
            pairs.append((one, other))
    if not counts_only:
        _check_environments(pairs)
    changes += [_counted(*pair) if pair[0].counted else _timed(*pair, floor(*pair), size) for pair in pairs]
    return Comparison(changes, left_out)


def _check_environments(pairs: Sequence[tuple[Quantity, Quantity]]) -> None:
    differ: dict[str, tuple[Any, Any]] = {}
    for one, other in pairs:
        for name in sorted({*one.environment, *other.environment}):
            found = one.environment.get(name), other.environment.get(name)
            if found[0] != found[1]:
                differ[name] = found
    if differ:
        shown = ", ".join(f"{name} ({was} before, {now} after)" for name, (was, now) in differ.items())
        raise InputError(
            f"the two sides were measured in different environments: {shown}; expected the same, measure both on one "
            "machine with the same libraries, or compare the counts alone"
        )


def _counted(one: Quantity, other: Quantity) -> Change:
    was, now = set(one.values), set(other.values)
    processes = len(one.values), len(other.values)
    if len(was) > 1 or len(now) > 1:
        side = "before" if len(was) > 1 else "after"
        verdict = Verdict("ambiguous", f"the processes of {side} do not agree: {sorted(was if len(was) > 1 else now)}")
    else:
        verdict = Verdict("equal" if was == now else "changed")
    return Change(one.name, one.unit, min(was), min(now), processes, *verdict)


def _timed(one: Quantity, other: Quantity, floor: float | None, size: float) -> Change:
    before, after = (float(np.median(side.values)) for side in (one, other))
    processes = len(one.values), len(other.values)
    took_turns = interleaved(one.started, other.started)
    if min(processes) < LEAST_PROCESSES:
        ratio = None
        few = f"a side has {min(processes)} of the {LEAST_PROCESSES} processes that a verdict takes"
        verdict = Verdict("ambiguous", few)
    else:
        paired = took_turns and processes[0] == processes[1]
        ratio = ratio_of_medians(in_order(one), in_order(other), paired=paired)
        verdict = judge(ratio, floor, size)
    reasons = [verdict.reason]
    if verdict.word in ("slower", "faster") and not took_turns:
        reasons.append(
            "one side was measured after the other, so that a drift of the machine beyond the floor is in it"
        )
    if one.implementation != other.implementation:
        reasons.append(f"before ran {dict(one.implementation)}, after {dict(other.implementation)}")
    reason = "; ".join(filter(None, reasons))
    return Change(one.name, one.unit, before, after, processes, verdict.word, reason, ratio, floor, took_turns)


def in_order(side: Quantity) -> Sequence[float]:
    """The processes' values in the order of time, where it is known."""
    return [value for _, value in sorted(zip(side.started, side.values, strict=True))] if side.started else side.values


def interleaved(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether the processes of two sides took turns, so that a drift of the machine hits both alike.

    A B B A A B B A changes sides as often as a side has processes; less often is one side after the other.
    """
    order = [side for _, side in sorted([*((at, 0) for at in before), *((at, 1) for at in after)])]
    switches = sum(one != other for one, other in itertools.pairwise(order))
    return bool(before and after) and switches >= min(len(before), len(after))

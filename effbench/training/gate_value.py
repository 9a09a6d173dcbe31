"""What a gate is worth: against fixed exits, against chance, and against an oracle that goes no deeper.

All from a derived data set of images that the gate has not seen; no inference is repeated. The choices are held fixed
while images are resampled, and every draw takes the same images of all that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effbench.quality import ImageStats, accumulate, bootstrap_pq, image_pq, interval, summarise
from effbench.training.derived import Derived, Floats
from effbench.training.gate import Choices

SHUFFLES = 50
RESAMPLES, SEED = 1000, 0
"""Of the bootstrap over images, the same for all that is compared."""

Scored = tuple[float, Floats]
"""PQ in percent, and that of every bootstrap draw of the images (RESAMPLES,)."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% bootstrap interval over images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GateValue:
    """PQ in percent of a way to choose exits, and what it stands against.

    Attributes:
        mean_exit: of the gate.
        gate: its PQ.
        random: that of the same exits dealt to the images by chance.
        oracle: that of the exits with the best mean PQ of an image that go no deeper on average.
        oracle_exits: exit -> images that leave there by the oracle.
        fixed: exit -> PQ of all images at it, also of those that the gate does not choose among.
        over_random, over_fixed: the gate minus each of them, paired; `over_fixed` for every exit.
        over_mix: the gate minus what lies between its two neighbouring fixed exits at its mean depth.
        gain: what the oracle gains over chance.
        share: of that gain, the part that the gate wins; None where the gain is not above zero with its interval, or
            not in every draw, since the ratio would then be anything.
    """

    mean_exit: float
    gate: Estimate
    random: Estimate
    oracle: Estimate
    oracle_exits: dict[int, int]
    fixed: dict[int, Estimate]
    over_random: Estimate
    over_fixed: dict[int, Estimate]
    over_mix: Estimate
    gain: Estimate
    share: Estimate | None


def gate_value(derived: Derived, choices: Choices, exits: Sequence[int], metric: str = "dataset") -> GateValue:
    """What `choices`, an exit (N,) among `exits` for every image in the derived set's order, are worth.

    metric: "dataset", the PQ that tables print, of counts summed over images; or "image", the mean of the images' own
    PQ, which targets and the oracle maximise.
    """
    score = _SCORES[metric]
    mean = float(choices.mean())
    best = oracle_choices(derived, mean, exits)
    gate, oracle = score(derived, choices), score(derived, best)
    fixed = {layer: score(derived, np.full(len(choices), layer)) for layer in derived.exits}
    random = _dealt(derived, choices, score)
    gain = oracle[1] - random[1]
    sure = interval(gain)[0] > 1e-9  # rounding alone gives a gain, too
    return GateValue(
        mean_exit=mean,
        gate=_estimate(gate),
        random=_estimate(random),
        oracle=_estimate(oracle),
        oracle_exits={layer: int((best == layer).sum()) for layer in exits},
        fixed={layer: _estimate(one) for layer, one in fixed.items()},
        over_random=_minus(gate, random),
        over_fixed={layer: _minus(gate, one) for layer, one in fixed.items()},
        over_mix=_minus(gate, _mixed(fixed, mean)),
        gain=_minus(oracle, random),
        share=_estimate(((gate[0] - random[0]) / (oracle[0] - random[0]), (gate[1] - random[1]) / gain))
        if sure and (gain > 0).all()
        else None,
    )


def oracle_choices(derived: Derived, budget: float, exits: Sequence[int]) -> Choices:
    """The exit (N,) of every image with the best mean PQ of images whose mean layer is at most `budget`.

    Every image takes its best PQ - price * layer, at the lowest price that the budget allows, found by bisection; what
    is left is spent on the images that gain most at that price. So it is the best but for about one image's step.
    """
    columns = [derived.exits.index(layer) for layer in exits]
    quality, layers = derived.quality()[:, columns], np.asarray(exits)
    low, high = 0.0, 1.0
    for _ in range(60):
        price = (low + high) / 2
        if layers[(quality - price * layers).argmax(1)].mean() > budget + 1e-9:
            low = price
        else:
            high = price
    chosen, dearer = (quality - high * layers).argmax(1), (quality - low * layers).argmax(1)
    rows, total = np.arange(len(chosen)), budget * len(chosen) + 1e-6
    gains = quality[rows, dearer] - quality[rows, chosen]
    for i in np.argsort(-gains, kind="stable"):
        deeper = layers[chosen].sum() + layers[dearer[i]] - layers[chosen[i]]
        if gains[i] > 0 and deeper <= total:
            chosen[i] = dearer[i]
    return layers[chosen]


def chosen_stats(derived: Derived, choices: Choices) -> list[ImageStats]:
    """Every image's statistics at its exit."""
    return [
        image.stats[derived.exits.index(int(layer))]
        for image, layer in zip(derived.images.values(), choices, strict=True)
    ]


def _of_dataset(derived: Derived, choices: Choices) -> Scored:
    stats = chosen_stats(derived, choices)
    categories = {category for image in derived.images.values() for one in image.stats for category in one}
    pq = summarise(accumulate(stats), categories, ())["all"].pq
    return pq, bootstrap_pq(stats, categories, RESAMPLES, SEED)


def _of_images(derived: Derived, choices: Choices) -> Scored:
    values = np.array([image_pq(stats) for stats in chosen_stats(derived, choices)])
    weights = np.random.default_rng(SEED).multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES)
    return float(values.mean()), weights @ values / len(values)


_SCORES: dict[str, Callable[[Derived, Choices], Scored]] = {"dataset": _of_dataset, "image": _of_images}


def _dealt(derived: Derived, choices: Choices, score: Callable[[Derived, Choices], Scored]) -> Scored:
    """The mean over `SHUFFLES` deals of the exits to the images."""
    rng = np.random.default_rng(SEED)
    if len(set(choices.tolist())) == 1:
        return score(derived, choices)
    found = [score(derived, rng.permutation(choices)) for _ in range(SHUFFLES)]
    return float(np.mean([value for value, _ in found])), np.asarray(np.mean([draws for _, draws in found], axis=0))


def _mixed(fixed: dict[int, Scored], depth: float) -> Scored:
    """Between the two fixed exits around `depth`, in proportion."""
    below, above = max(k for k in fixed if k <= depth + 1e-9), min(k for k in fixed if k >= depth - 1e-9)
    share = (depth - below) / (above - below) if above > below else 0.0
    (value, draws), (next_value, next_draws) = fixed[below], fixed[above]
    return (1 - share) * value + share * next_value, (1 - share) * draws + share * next_draws


def _minus(one: Scored, other: Scored) -> Estimate:
    return _estimate((one[0] - other[0], one[1] - other[1]))


def _estimate(scored: Scored) -> Estimate:
    low, high = interval(scored[1])
    return Estimate(float(scored[0]), low, high)

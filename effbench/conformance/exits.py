"""What an early-exit encoder promises besides: exits can be named, mixed in a batch, and are each image's own."""

from __future__ import annotations

import torch

from effbench.conformance.check import check
from effbench.conformance.compare import difference, image, moved
from effbench.conformance.outputs import ALONE
from effbench.conformance.subject import Subject
from effbench.encoders.contract import Encoder, exits_of


@check(
    wants="exits in ascending order, and as EncoderOutput.exit the layer after which each image left, (B,) int",
    mend="fill EncoderOutput.exit with the exit that was asked for, or that the gate chose",
    requires=("shapes",),
)
def exit_named(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    exits = exits_of(encoder)
    if list(exits) != sorted(set(exits)) or not all(isinstance(exit, int) and exit > 0 for exit in exits):
        return f"exits is {exits}"
    for exit in (*exits, None):
        output = subject.run(encoder, features, exit=exit)
        left = output.exit
        if left is None or left.shape != (2,) or left.is_floating_point():
            return f"for exit={exit}, EncoderOutput.exit is {left}"
        wrong = not set(left.tolist()) <= ({exit} if exit is not None else set(exits))
        if wrong:
            return f"for exit={exit}, EncoderOutput.exit is {left.tolist()}"
    return None


@check(
    wants="exits that differ in their output: an earlier one leaves layers out",
    mend="stop after the layer that exit names",
    requires=("exit_named", "determinism"),
)
def exit_leaves(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    exits = exits_of(encoder)
    outputs = [subject.run(encoder, features, exit=exit) for exit in exits]
    for i in range(1, len(exits)):
        if all(torch.equal(a, b) for a, b in zip(outputs[i - 1].multi_scale, outputs[i].multi_scale, strict=True)):
            return f"exits {exits[i - 1]} and {exits[i]} give the same maps"
    return None


@check(
    wants=f"for every image of a batch the exit and, within {ALONE}, the maps that it has alone",
    mend="let each image leave by its own exit, and go on with those that stay",
    requires=("exit_named", "batch_invariance"),
)
def exit_mixed(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    exits = exits_of(encoder)
    for exit in (torch.tensor([exits[0], exits[-1]]), torch.tensor([exits[-1], exits[0]]), None):
        together = subject.run(encoder, features, exit=exit)
        for i in range(2):
            alone = {name: x[i : i + 1] for name, x in features.items()}
            single = subject.run(encoder, alone, exit=None if exit is None else int(exit[i]))
            if found := difference(single, image(together, i), atol=ALONE):
                asked = "left to the gate" if exit is None else f"exit={exit.tolist()}"
                return f"for image {i} of 2 with {asked}, {found} from the image alone"
    return None


@check(
    wants="ValueError that names an exit which is not among the encoder's",
    mend="compare the argument exit with self.exits before the first layer",
    requires=("exit_named",),
)
def exit_refused(subject: Subject) -> str | None:
    encoder, features = subject.build(), subject.pyramid()
    bad = max(exits_of(encoder)) + 1
    for asked in (bad, torch.tensor([bad, bad])):
        if found := _taken(subject, encoder, features, asked, bad):
            return found
    return None


def _taken(
    subject: Subject, encoder: Encoder, features: dict[str, torch.Tensor], asked: int | torch.Tensor, bad: int
) -> str | None:
    try:
        subject.run(encoder, features, exit=asked)
    except ValueError as error:
        return None if str(bad) in str(error) else f"exit={asked} is refused with {str(error)!r}"
    except Exception as error:
        return f"exit={asked} raises {type(error).__name__}"
    return f"exit={asked} is accepted"

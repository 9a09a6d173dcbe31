"""What an encoder promises to training: gradients everywhere, in float32 and under autocast."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from effbench.conformance.check import check
from effbench.conformance.compare import NAMES, difference, listed, moved, tensors
from effbench.conformance.subject import Subject
from effbench.encoders.contract import Encoder, EncoderOutput, exits_of

AUTOCAST = 0.05
"""Largest relative distance to float32: the rounding of twenty bfloat16 layers."""


@check(
    wants="a finite gradient for every parameter and for every map that the output depends on",
    mend="detach nothing that the output is made of, and drop parameters that nothing uses",
    requires=("runs", "exit_named"),  # a gate shows in the exits alone
)
def gradients(subject: Subject) -> str | None:
    encoder = moved(subject.build())
    if frozen := [name for name, x in encoder.named_parameters() if not x.requires_grad]:
        return f"{listed(frozen)} is frozen; a constant is a buffer"
    features = {name: x.requires_grad_() for name, x in subject.pyramid().items()}
    leaves = {**dict(encoder.named_parameters()), **features}
    # dropped in training and normalised away in evaluation: what either reaches is reached
    for training in (True, False):
        for exit in exits_of(encoder) or (None,):
            output = subject.call(encoder.train(training), features, **({} if exit is None else {"exit": exit}))
            random_sum(output).backward()
    encoder.eval()
    if bad := [name for name, x in leaves.items() if x.grad is not None and not x.grad.isfinite().all()]:
        return f"the gradient of {listed(bad)} is infinite or undefined"
    unreached = [name for name, x in leaves.items() if x.grad is None or not x.grad.any()]
    lost = [name for name in unreached if name not in features and not _decides_exit(subject, encoder, features, name)]
    lost += [name for name in unreached if name in features and _matters(subject, encoder, features, name)]
    return f"no gradient reaches {listed(lost)}" if lost else None


def random_sum(output: EncoderOutput) -> Tensor:
    """A loss that depends on every element: random weights, because a norm makes the plain sum a constant."""
    return torch.stack([(x.float() * torch.randn(x.shape)).sum() for x in tensors(output)]).sum()


def unused_maps(subject: Subject) -> list[str]:
    """The maps of the pyramid that no output depends on."""
    encoder, features = moved(subject.build()), subject.pyramid()
    return [name for name in features if not _matters(subject, encoder, features, name)]


def _matters(subject: Subject, encoder: Encoder, features: Mapping[str, Tensor], name: str) -> bool:
    changed = {**features, name: torch.randn_like(features[name])}
    return difference(subject.run(encoder, features), subject.run(encoder, changed)) is not None


@torch.no_grad()
def _decides_exit(subject: Subject, encoder: Encoder, features: Mapping[str, Tensor], name: str) -> bool:
    """Whether a parameter belongs to the gate of an early-exit encoder, which no gradient of the maps can reach."""
    if not exits_of(encoder):
        return False
    changed = copy.deepcopy(encoder)
    chosen = set()
    for _ in range(16):
        parameter = changed.get_parameter(name)
        parameter.copy_(3 * torch.randn_like(parameter))
        chosen.add(str(subject.run(changed, features, exit=None).exit))
    return len(chosen) > 1


@check(
    wants="bfloat16 autocast close to float32, in output and in what gradients reach",
    mend="leave the dtype of operators to autocast; cast to float32 only what overflows or needs the digits",
    requires=("determinism", "gradients"),
)
def autocast(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    single = subject.run(encoder, features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = subject.call(encoder, features)
    for name, a, b in zip(NAMES, tensors(single), tensors(mixed), strict=True):
        b = b.detach().float()
        if not (b - a).norm() < AUTOCAST * a.norm():
            return f"{name} is off by {((b - a).norm() / a.norm()):.1%}"
        if torch.equal(b, a):
            return f"{name} is bit for bit that of float32: autocast reached no operator"
    random_sum(mixed).backward()
    reached = {name for name, x in encoder.named_parameters() if x.grad is not None and x.grad.isfinite().all()}
    random_sum(subject.call(encoder, features)).backward()
    lost = [name for name, x in encoder.named_parameters() if x.grad is not None and name not in reached]
    return f"under autocast no finite gradient reaches {listed(lost)}" if lost else None

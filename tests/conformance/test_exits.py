"""The promises of early-exit encoders, on a small one with a gate and on planted faults."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from effbench.conformance.check import Result
from effbench.conformance.kit import EXIT_CHECKS, conform
from effbench.conformance.subject import Subject
from effbench.encoders.contract import LEVELS, Encoder, EncoderOutput, FeatureSpec

FEATURES = {name: FeatureSpec(4 * 2**i, stride) for i, (name, stride) in enumerate(LEVELS.items())}
COARSE_TO_FINE = ("res5", "res4", "res3")


class Leaves(Encoder):
    """A projection, then up to three 1x1 layers on the coarsest map; a gate looks at that map's mean."""

    exits: tuple[int, ...] = (1, 3)

    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim, mask_dim)
        self.project = nn.ModuleDict({name: nn.Conv2d(self.specs[name].channels, dim, 1) for name in COARSE_TO_FINE})
        self.masks = nn.Conv2d(self.specs["res2"].channels, mask_dim, 1)
        self.layers = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in range(3))
        self.gate = nn.Linear(dim, 2)

    def chosen(self, coarse: Tensor, exit) -> list[int]:
        """The exit of each image: what the caller says, or what the gate decides."""
        if coarse.is_meta:
            return [exit] * len(coarse)
        if exit is None:
            return [self.exits[i] for i in self.gate(coarse.mean((2, 3))).argmax(1)]
        left = exit.tolist() if isinstance(exit, Tensor) else [exit] * len(coarse)
        if bad := set(left) - set(self.exits):
            raise ValueError(f"exit={min(bad)}, expected one of {self.exits}")
        return left

    def deepen(self, coarse: Tensor, left: list[int]) -> Tensor:
        images = []
        for x, exit in zip(coarse, left, strict=True):
            for layer in self.layers[:exit]:
                x = layer(x)
            images.append(x)
        return torch.stack(images)

    def forward(self, features, exit=None) -> EncoderOutput:
        coarse, middle, fine = (self.project[name](features[name]) for name in COARSE_TO_FINE)
        left = self.chosen(coarse, exit)
        maps = (self.deepen(coarse, left), middle, fine)
        return EncoderOutput(self.masks(features["res2"]), maps, torch.tensor(left))


class DescendingExits(Leaves):
    exits = (3, 1)


class SaysTheDeepest(Leaves):
    def forward(self, features, exit=None):
        output = super().forward(features, exit)
        return EncoderOutput(output.mask_features, output.multi_scale, torch.full_like(output.exit, 3))


class SaysNothing(Leaves):
    def forward(self, features, exit=None):
        output = super().forward(features, exit)
        return EncoderOutput(output.mask_features, output.multi_scale)


class NeverLeaves(Leaves):
    def deepen(self, coarse, left):
        return super().deepen(coarse, [3] * len(left))


class FollowsTheFirstImage(Leaves):
    def deepen(self, coarse, left):
        return super().deepen(coarse, left[:1] * len(left))


class TakesAnyExit(Leaves):
    def chosen(self, coarse, exit):
        return [exit] * len(coarse) if isinstance(exit, int) else super().chosen(coarse, exit)


class HasADeadLayer(Leaves):
    def __init__(self, features, *, dim: int = 8, mask_dim: int = 4) -> None:
        super().__init__(features, dim=dim, mask_dim=mask_dim)
        self.dead = nn.Linear(dim, 2)


FAULTS = [
    (DescendingExits, "exit_named", "exits is (3, 1)"),
    (SaysTheDeepest, "exit_named", "for exit=1, EncoderOutput.exit is [3, 3]"),
    (SaysNothing, "exit_named", "for exit=1, EncoderOutput.exit is None"),
    (NeverLeaves, "exit_leaves", "exits 1 and 3 give the same maps"),
    (FollowsTheFirstImage, "exit_mixed", "for image 1 of 2 with exit=[1, 3], multi_scale[0]"),
    (TakesAnyExit, "exit_refused", "exit=4 is accepted"),
    (HasADeadLayer, "gradients", "no gradient reaches dead.weight, dead.bias"),
]


def examined(cls: type[Encoder]) -> list[Result]:
    return conform(Subject("planted", cls, FEATURES))


def test_an_encoder_with_a_gate_keeps_the_contract() -> None:
    results = examined(Leaves)
    assert [result.line for result in results if result.status != "ok"] == []
    assert {check.name for check in EXIT_CHECKS} < {result.check for result in results}


@pytest.mark.parametrize(("cls", "check", "said"), FAULTS, ids=lambda x: x.__name__ if isinstance(x, type) else "")
def test_a_fault_is_named_by_its_check_alone(cls: type[Encoder], check: str, said: str) -> None:
    (failed,) = [result for result in examined(cls) if result.status == "failed"]
    assert (failed.check, said in failed.found) == (check, True), failed.line


def test_every_exit_check_has_a_planted_fault() -> None:
    assert {check.name for check in EXIT_CHECKS} < {check for _, check, _ in FAULTS}

"""Layers one after another over the tokens of three maps, between any two of which an image may leave.

An image that leaves is finished with what its tokens are by then; those that stay go on as a smaller batch. So what
is computed for an image is what would be computed for it alone.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from effbench.encoders.deformable import DeformableLayer, Shapes

State = tuple[Tensor, ...]
"""What a stack knows between two steps: tensors whose first dimension is the batch."""


class Place(NamedTuple):
    """Where tokens stand: position (S, C), reference points (S, 2), shapes of the three maps, coarse to fine.

    Without a position the layers have it in their tables (`one_size.py`).
    """

    position: Tensor | None
    reference: Tensor
    shapes: Shapes

    def first(self, tokens: int, levels: int | None = None) -> Place:
        """Where the first `tokens` stand; of maps, the first `levels`, or all."""
        position = None if self.position is None else self.position[:tokens]
        return Place(position, self.reference[:tokens], self.shapes[:levels])


class Stack(nn.Module, abc.ABC):
    """Deformable layers; a subclass says which tokens each of them sees."""

    def __init__(self, layers: Sequence[DeformableLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    @property
    def depth(self) -> int:
        """Steps, after each of which an image may leave."""
        return len(self.layers)

    @property
    def default_exits(self) -> tuple[int, ...]:
        """Steps after which leaving is worth a choice."""
        return tuple(range(2, self.depth + 1))

    @abc.abstractmethod
    def begin(self, tokens: Sequence[Tensor], place: Place) -> State:
        """tokens per level (B, S_l, C), coarse to fine."""

    @abc.abstractmethod
    def step(self, number: int, state: State, place: Place) -> State:
        """The state after step `number` (from 1)."""

    @abc.abstractmethod
    def finish(self, state: State, place: Place) -> Tensor:
        """All tokens (B, S, C) of images that leave in this state."""

    def forward(
        self, tokens: Sequence[Tensor], place: Place, exits: Tensor | None = None, depths: Sequence[int] | None = None
    ) -> Tensor:
        """tokens per level (B, S_l, C) to all tokens (B, S, C).

        `depths` are the steps of each image as host integers, `exits` the same (B,) on the tokens' device, so that
        nothing here waits for it; without them every image takes all steps.
        """
        depths = depths or [self.depth]
        state = self.begin(tokens, place)
        if len(set(depths)) == 1:
            for number in range(1, depths[0] + 1):
                state = self.step(number, state, place)
            return self.finish(state, place)
        assert exits is not None, "images that leave apart are sorted on the device"
        order = exits.argsort(descending=True, stable=True)  # so that those who leave stand last
        state = tuple(x[order] for x in state)
        staying, left = len(depths), []
        for number in range(1, max(depths) + 1):
            state = self.step(number, state, place)
            remaining = staying - depths.count(number)
            if remaining < staying:
                left.append(self.finish(tuple(x[remaining:] for x in state), place))
                state, staying = tuple(x[:remaining] for x in state), remaining
        return torch.cat(left[::-1])[order.argsort()]

    def every_exit(self, tokens: Sequence[Tensor], place: Place, exits: Sequence[int]) -> list[Tensor]:
        """All tokens (B, S, C) as of each of `exits` (ascending): every step is taken once, for the whole batch."""
        state, found = self.begin(tokens, place), []
        for number in range(1, max(exits) + 1):
            state = self.step(number, state, place)
            if number in exits:
                found.append(self.finish(state, place))
        return found


class LayerStack(Stack):
    """Every layer updates all tokens."""

    def begin(self, tokens: Sequence[Tensor], place: Place) -> State:
        return (torch.cat(list(tokens), dim=1),)

    def step(self, number: int, state: State, place: Place) -> State:
        return (self.layers[number - 1](state[0], *place),)

    def finish(self, state: State, place: Place) -> Tensor:
        return state[0]

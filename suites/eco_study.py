"""What a study of early exit trains, derives, scores and times, on whatever data: the tasks of suite eco's profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from effbench.study.cell import Cell
from effbench.study.interleave import interleaved
from effbench.study.suite import NARROW, System, Task
from effbench.suites.systems import NARROW_MODEL

GateFields = Mapping[str, Any]


@dataclass(frozen=True)
class Gates:
    """The gates of one base.

    Attributes:
        trained: fields of their recipes.
        scored: those of them that are passed through the model and scored in full.
        shown: the one whose images are shown.
        timed: those that the ledger is of.
    """

    trained: Sequence[GateFields]
    scored: Sequence[GateFields]
    shown: GateFields
    timed: Sequence[GateFields]


@dataclass(frozen=True)
class Study:
    """Data, training and gates.

    Attributes:
        data: data set, size and classes, as fields of a Cell.
        options: of every trained cell: inference, warm start, images.
        recipe: of step A, without its losses and seed.
        kinds, seeds: losses and seeds of step A for the first base; the others have the first of each.
        gates: base -> its gates.
        exits: base -> exits that are scored in full.
        ledger: images of a ledger, and its processes.
        inputs: where photos lie.
    """

    data: Mapping[str, Any]
    options: Mapping[str, Any]
    recipe: Mapping[str, Any]
    kinds: Sequence[str]
    seeds: Sequence[int]
    gates: Mapping[System, Gates]
    exits: Mapping[System, Sequence[int]]
    ledger: tuple[int, int]
    inputs: Mapping[str, str] = field(default_factory=dict)

    def narrow(self, system: System) -> Cell:
        """The narrow model of `system` on the study's data."""
        return Cell(**system.fields(NARROW), **{**NARROW_MODEL, **self.data})

    def trained(self, system: System, kind: str | None = None, seed: int | None = None) -> Cell:
        """The same after step A; by default the model that gates are of."""
        losses = {"exit_loss": kind or self.kinds[0], "seed": self.seeds[0] if seed is None else seed}
        return replace(self.narrow(system), options={**self.options, "recipe": {**self.recipe, **losses}})

    def tasks(self, counted: Mapping[System, Sequence[int]]) -> Iterator[Task]:
        """Everything, with the narrow models' MACs at the `counted` exits; what others wait for comes first."""
        for system, exits in counted.items():
            for layer in exits:
                cell = replace(self.narrow(system), options={"exit": layer})
                yield self._task(cell, "macs", f"{system.label}, narrow, MACs at exit {layer}", counts=True)
        for place, system in enumerate(self.gates):
            yield from self._step_a(system, place == 0)
        yield from self._ledgers()
        for system, gates in self.gates.items():
            yield from self._step_c(system, gates)
        for system, gates in self.gates.items():
            yield from self._scores(system, gates)

    def _step_a(self, system: System, first: bool) -> Iterator[Task]:
        for kind in self.kinds if first else self.kinds[:1]:
            for seed in self.seeds if first else self.seeds[:1]:
                cell = self.trained(system, kind, seed)
                yield self._task(cell, "exits", f"{system.label} trained for its exits ({kind}), seed {seed}")
        yield self._task(self.trained(system), "derivation", f"{system.label}, step B")

    def _step_c(self, system: System, gates: Gates) -> Iterator[Task]:
        for recipe in gates.trained:
            cell = self._with(system, gate=recipe)
            yield self._task(cell, "gate", f"{system.label} gate, {_said(recipe)}", counts=True)

    def _ledgers(self) -> Iterator[Task]:
        images, processes = self.ledger
        timed = [
            self._with(system, gate=recipe, ledger_images=images)
            for system, gates in self.gates.items()
            for recipe in gates.timed
        ]
        for cell in interleaved(timed, processes):
            said = f"{_said(cell.options['gate'])}, process {cell.options['replica'] + 1}"
            yield self._task(cell, "ledger", f"{cell.system} ledger, {said}", alone=True)

    def _scores(self, system: System, gates: Gates) -> Iterator[Task]:
        for layer in self.exits.get(system, ()):
            yield self._task(self._with(system, exit=layer), "exit_quality", f"{system.label} scored at exit {layer}")
        for recipe in gates.scored:
            cell = self._with(system, gate=recipe)
            yield self._task(cell, "exit_quality", f"{system.label} scored by its gate, {_said(recipe)}")
        yield self._task(self._with(system, gate=gates.shown), "exit_examples", f"{system.label}, images")

    def _with(self, system: System, **options: Any) -> Cell:
        cell = self.trained(system)
        return replace(cell, options={**cell.options, **options})

    def _task(self, cell: Cell, probe: str, title: str, **how: Any) -> Task:
        return Task(cell, probe, title, inputs=self.inputs, **how)


def _said(recipe: GateFields) -> str:
    return ", ".join(f"{name} {value}" for name, value in recipe.items())

"""Our own counts behind the ledger: one record per model and input, made once and kept until its sources change.

A record names the hash of the sources and data that it was counted with, and the libraries that build its backbone.
Where any of these is another now, the record is stale: it answers nothing, and the model is counted anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from effbench.claims.printed import COSTS, Claim
from effbench.encoders.registry import encoder_class
from effbench.files import replacing
from effbench.models.backbones import preset
from effbench.probes.base import Context, load_probe
from effbench.probes.mac_sizes import CITYSCAPES_CLASSES, COCO_CLASSES
from effbench.study import environment
from effbench.study.cell import Cell, tuples
from effbench.study.record import Record, RecordBook
from effbench.study.source import closure

GIGA = 1e9
COCO, FIRST_30, FIRST_100, CITYSCAPES = "coco", "coco:first30", "coco:first100", "1024x2048"
COCO_INPUTS = (COCO, FIRST_30, FIRST_100)
"""What printed COCO counts may have been made on: all of val2017, or its first images and the encoder on the last."""
LIKE_FOR_LIKE: Mapping[str, str] = {"coco": COCO, "cityscapes": CITYSCAPES}
"""data set -> the input on which all systems are comparable: its validation images."""
SAME_WIDTHS: Mapping[str, str] = {"mvit_t": "swin_t"}
"""Backbone -> one of ours whose maps have as many channels, so that an encoder costs the same on it.

timm's MViTv2-T attends globally and costs a multiple of the papers', whose release attends in windows: its totals
cannot be counted here.
"""
KERNELS = "effbench.kernels."
BUILDERS = ("torch", "timm")
"""Libraries whose layers and backbones are counted: another release may count otherwise."""
DEPTHS: Mapping[str, tuple[int, int]] = {"mask2former": (2, 6), "lite": (2, 5)}
"""Base of an early-exit encoder -> the first and last layer after which its images may leave."""


@dataclass
class Counts:
    """Counts by cell and probe: those that are there and fresh, and those that are made when asked for.

    Attributes:
        records: what is there, fresh or not.
        made: what was counted since.
        asked: the records that were asked for, made or not.
        may_count: whether a count that is missing or stale may be made; else asking for it raises LookupError.
        counting: is told the cell before it is counted.
        keep: is given the record once it is made.
    """

    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    made: list[Record] = field(default_factory=list)
    asked: dict[tuple[str, str], Record] = field(default_factory=dict)
    may_count: bool = True
    counting: Callable[[Cell], None] = lambda cell: None
    keep: Callable[[Record], None] = lambda record: None

    @classmethod
    def of(cls, path: Path, **options: Any) -> Counts:
        """The counts of a records file, none if there is no such file."""
        book = RecordBook(path, read_only=True)
        return cls({(record.cell_id, record.probe): record for record in book.records}, **options)

    def get(self, cell: Cell, probe: str = "macs") -> Record:
        """The cell's record of today's sources."""
        key = cell.id, probe
        if key not in self.asked:
            self.asked[key] = self._fresh(cell, probe)
        return self.asked[key]

    def _fresh(self, cell: Cell, probe: str) -> Record:
        record = self.records.get((cell.id, probe))
        if record is not None and not stale(record):
            return record
        if not self.may_count:
            state = "missing" if record is None else f"stale: {_changed(record)}"
            raise LookupError(f"the count of {cell.system} on {cell.backbone} at {cell.size} is {state}")
        self.counting(cell)
        record = measure(cell, probe)
        self.records[cell.id, probe] = record
        self.made.append(record)
        self.keep(record)
        return record

    def papers(self, cell: Cell) -> dict[str, float]:
        """component -> GMACs in the papers' convention, `total` included."""
        detail: Mapping[str, float] = self.get(cell).detail["papers"]
        return {component: macs / GIGA for component, macs in detail.items()}


def cell_of(claim: Claim, size: str, exit: int | None = None) -> Cell:
    """The model that a claim is of, at an input; for an early-exit encoder at an exit, its last without one.

    On a backbone of `SAME_WIDTHS` it is the model on the other one, of which only the encoder answers.
    """
    backbone = SAME_WIDTHS.get(claim.backbone, claim.backbone)
    return Cell(
        encoder=claim.encoder,
        settings=tuples(claim.settings),
        backbone=backbone,
        dataset=claim.dataset,
        size=size,
        classes=CITYSCAPES_CLASSES if claim.dataset == "cityscapes" else COCO_CLASSES,
        queries=preset(backbone).queries,
        options={} if exit is None else {"exit": exit},
    )


def exits(claim: Claim) -> tuple[int, int]:
    """The first and the last layer after which an image of a gated row may leave."""
    first, last = DEPTHS[claim.settings["base"]]
    return first, min(last, claim.settings.get("k") or last)


def gated(claim: Claim) -> bool:
    """Whether images of the claim's row leave at exits that a gate chooses."""
    return claim.encoder == "early_exit" and "exit_layer" not in claim.conditions


def countable(claim: Claim) -> bool:
    """Whether the claim is a cost of a model that effbench builds."""
    return claim.metric in COSTS and bool(claim.encoder) and bool(claim.input)


def measure(cell: Cell, probe: str) -> Record:
    """Count a cell now."""
    module, began = load_probe(probe), datetime.now(UTC)
    found = module.measure(cell, Context(work=""))
    commit, dirty = environment.commit()
    return Record(
        cell=cell.to_json(),
        cell_id=cell.id,
        probe=probe,
        probe_version=module.VERSION,
        unit=found.unit,
        samples=list(found.samples),
        status="ok",
        detail=dict(found.detail),
        implementation=dict(found.implementation),
        source=_sources_of(cell, probe),
        environment=environment.environment(),
        host=environment.host(),
        commit=commit,
        dirty=dirty,
        started_at=began.isoformat(timespec="seconds"),
        seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
    )


def as_of_today(record: Record) -> Record:
    """The record as if made with what is there today: for a caller who knows that the count is the same."""
    source = _sources_of(Cell.from_json(record.cell), record.probe)
    libraries = {**record.environment, **{name: environment.environment()[name] for name in BUILDERS}}
    return replace(record, source=source, probe_version=load_probe(record.probe).VERSION, environment=libraries)


def stale(record: Record) -> bool:
    """Whether something that the record's count depends on is another now."""
    return bool(_changed(record))


def _changed(record: Record) -> str:
    """What the record's count depends on and is another now, in words; "" if nothing is."""
    if record.source != _sources_of(Cell.from_json(record.cell), record.probe):
        return "its sources or their data have changed"
    if record.probe_version != load_probe(record.probe).VERSION:
        return "its probe has another version"
    for name in BUILDERS:
        then, now = (_release(versions[name]) for versions in (record.environment, environment.environment()))
        if then != now:
            return f"it was counted with {name} {then}, and {now} is installed"
    return ""


def _release(version: str | None) -> str:
    """A version without its build: 2.12.0 of 2.12.0+cpu."""
    return (version or "none").partition("+")[0]


def _sources_of(cell: Cell, probe: str) -> str:
    """Hash of the sources of the probe and of the cell's encoder, and of the tables beside them."""
    return _sources((f"effbench.probes.{probe}", *encoder_class(cell.encoder).source_modules(cell.settings)))


@cache
def _sources(modules: tuple[str, ...]) -> str:
    """As `source_hash`, with the tables that the sources read (image sizes).

    Without the operators' implementations: on shapes alone none of them runs.
    """
    digest = hashlib.sha256()
    counted = {n: path for n, path in closure(modules).items() if not n.startswith(KERNELS) or n.endswith(".costs")}
    for name, path in sorted(counted.items()):
        digest.update(f"{name}\0".encode() + path.read_bytes())
    for table in sorted({table for path in counted.values() for table in path.parent.glob("*.csv")}):
        digest.update(f"{table.name}\0".encode() + table.read_bytes())
    return digest.hexdigest()[:16]


def forget_sources() -> None:
    """Hash all sources again: for a process that outlives an edit."""
    _sources.cache_clear()


def write(records: Iterable[Record], path: Path) -> None:
    """Write records as a file, in the order of their cells."""
    with replacing(path) as file:
        for record in sorted(records, key=lambda r: (r.probe, r.cell["backbone"], r.cell["size"], r.cell_id)):
            file.write((json.dumps(asdict(record), allow_nan=False) + "\n").encode())

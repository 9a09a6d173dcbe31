"""Our counts behind the ledger: when they are stale, and that the published ones are what is counted now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from effbench.claims import counting, page, printed
from effbench.claims.counting import DEPTHS, SAME_WIDTHS, Counts, cell_of, forget_sources, measure, stale
from effbench.claims.ledger import RECORDS, build, runs_in
from effbench.study import source
from effbench.study.cell import Cell
from effbench.study.record import Record, RecordBook

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
COMMAND = "effbench claims --write"
SAMPLE = {
    "mask2former": "coco:first30",
    "proscale": "1024x2048",
    "rt": "1024x2048",
    "lite": "1024x2048",
    "early_exit": "1024x2048",
    "convnext_unet": "800x1200",
}
"""encoder -> the input of which one of its counts is made again."""


@pytest.fixture
def fresh() -> Iterator[None]:
    """Sources hashed anew in a test, and again after it."""
    forget_sources()
    yield
    forget_sources()


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return RecordBook(PUBLISHED / RECORDS, read_only=True).records


def test_the_published_ledger_is_that_of_the_sources_and_the_printed_data() -> None:
    """Fails when an encoder, a counting rule or a printed number has changed; the command mends it."""
    counts = Counts.of(PUBLISHED / RECORDS, may_count=False)
    try:
        ledger = build(printed.read(), counts, runs_in(PUBLISHED))
    except LookupError as error:
        pytest.fail(f"{error}; run `{COMMAND}`")
    assert page.as_csv(ledger) == (PUBLISHED / "claims.csv").read_text(encoding="utf-8"), f"run `{COMMAND}`"
    assert page.as_page(ledger) == (PUBLISHED / "README.md").read_text(encoding="utf-8"), f"run `{COMMAND}`"
    assert counts.asked.keys() == counts.records.keys(), f"counts that nothing asks for: run `{COMMAND}`"


def test_a_changed_encoder_makes_its_counts_stale(
    kept: Counts, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    records = list(kept.records.values())
    assert not any(stale(record) for record in records)
    module, file = "effbench.encoders.proscale", tmp_path / "proscale.py"
    original = source._file(module)
    assert original is not None
    file.write_text(original.read_text() + "\nCHANGED = True\n")
    monkeypatch.setattr(source, "_file", lambda name, found=source._file: file if name == module else found(name))
    forget_sources()
    gone = [record for record in records if stale(record)]
    assert gone
    assert {record.cell["encoder"] for record in gone} == {"proscale"}
    counts = Counts({(r.cell_id, r.probe): r for r in records}, may_count=False)
    with pytest.raises(LookupError, match=r"count of proscale\(p=.* is stale"):
        build(printed.read(), counts, {})


def test_other_image_sizes_make_counts_stale(kept: Counts, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables beside the sources are hashed with them: another row of sizes is another mean."""
    record = next(r for r in kept.records.values() if r.cell["size"] == "coco")
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"1,640,480\n" * path.name.endswith("sizes.csv"))
    forget_sources()
    with pytest.raises(LookupError, match="its sources or their data have changed"):
        Counts({(record.cell_id, record.probe): record}, may_count=False).get(Cell.from_json(record.cell))


@pytest.mark.parametrize("library", counting.BUILDERS)
def test_another_release_of_a_library_makes_a_count_stale(kept: Counts, library: str) -> None:
    record = next(iter(kept.records.values()))
    now = record.environment[library]
    assert stale(replace(record, environment={**record.environment, library: "0.1"}))
    assert not stale(replace(record, environment={**record.environment, library: f"{now.partition('+')[0]}+cpu"}))


def test_another_version_of_the_probe_makes_a_count_stale(kept: Counts, monkeypatch: pytest.MonkeyPatch) -> None:
    from effbench.probes import macs

    monkeypatch.setattr(macs, "VERSION", "0")
    counted = [record for record in kept.records.values() if record.probe == "macs"]
    assert counted
    assert all(stale(record) for record in counted)


def test_a_missing_count_is_made_or_refused(kept: Counts) -> None:
    claim = next(c for c in printed.read() if c.id == "proscale/T2/r50/PRO-SCALE(1,1,1)/gflops_encoder")
    cell = cell_of(claim, claim.input)
    with pytest.raises(LookupError, match="missing"):
        Counts(may_count=False).get(cell)
    told: list[Cell] = []
    counts = Counts(counting=told.append)
    assert counts.papers(cell) == pytest.approx(kept.papers(cell))
    assert told == [cell]
    assert counts.get(cell) is counts.made[0]
    assert len(counts.made) == 1


@pytest.mark.parametrize("encoder", SAMPLE)
def test_a_sample_counts_the_same_now(records: list[Record], encoder: str) -> None:
    kept = next(r for r in records if (r.cell["encoder"], r.cell["size"]) == (encoder, SAMPLE[encoder]))
    assert measure(Cell.from_json(kept.cell), kept.probe).detail == kept.detail


@pytest.mark.slow
def test_all_count_the_same_now(records: list[Record]) -> None:
    for kept in records:
        assert measure(Cell.from_json(kept.cell), kept.probe).detail == kept.detail, kept.cell


def test_stand_in_backbones_have_the_same_widths() -> None:
    import timm
    import torch

    from effbench.models.backbones import build_backbone

    names = {"mvit_t": "mvitv2_tiny"}
    for backbone, ours in SAME_WIDTHS.items():
        with torch.device("meta"):
            theirs = timm.create_model(names[backbone], features_only=True).feature_info.channels()
            assert theirs == [spec.channels for spec in build_backbone(ours).features.values()]


@pytest.mark.parametrize("base", DEPTHS)
def test_gated_rows_leave_where_their_encoder_can_be_left(base: str) -> None:
    import torch

    from effbench.encoders.contract import LEVELS, FeatureSpec, exits_of
    from effbench.encoders.registry import build_encoder

    features = {name: FeatureSpec(96, stride) for name, stride in LEVELS.items()}
    with torch.device("meta"):
        own = exits_of(build_encoder("early_exit", features, base=base))
    assert (min(own), max(own)) == DEPTHS[base]


def test_records_are_written_in_one_order(records: list[Record], tmp_path: Path) -> None:
    counting.write(reversed(records), tmp_path / "records.jsonl")
    assert (tmp_path / "records.jsonl").read_bytes() == (PUBLISHED / RECORDS).read_bytes()

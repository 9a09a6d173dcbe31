"""The embedded set: the same seed gives the same scene, and the folder holds what was generated."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from effbench.data import embedded
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.embedded import embedded_root, generate
from effbench.data.embedded_categories import CATEGORIES, STUFF, THINGS
from effbench.data.embedded_recipe import MIXES, PARTS, SPLIT_SEEDS, part_of, shares
from effbench.data.embedded_shapes import OUTLINES, SHAPES
from effbench.errors import InputError
from effbench.study.source import closure

COUNTS = {"train2017": 6, "val2017": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded_root(size=64, counts=COUNTS, cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("part", [*PARTS, *MIXES])
def test_scenes_are_functions_of_their_arguments(part: str) -> None:
    image, id_map, segments = generate(part, 5, 3, 96)
    again = generate(part, 5, 3, 96)
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert id_map.shape == (96, 96) and id_map.dtype == np.int32
    assert np.array_equal(image, again[0]) and np.array_equal(id_map, again[1]) and segments == again[2]
    for seed, index in ((5, 4), (6, 3)):
        assert not np.array_equal(id_map, generate(part, seed, index, 96)[1])


@pytest.mark.parametrize(
    ("split", "size", "digest"),
    [
        ("train2017", 128, "a5fc798fd23cc637"),
        ("tune2017", 128, "30d190c0082c09a0"),
        ("val2017", 64, "55d372c69d711c2d"),
        ("val2017", 128, "a0c592cf816c4571"),
        ("val2017", 256, "96114c858ac38e62"),
    ],
)
def test_base_is_what_published_results_were_measured_on(split: str, size: int, digest: str) -> None:
    """The digests are of the set as it was when it had no other part, with the dataset's own category ids."""
    seen = hashlib.sha256()
    for index in range(20):
        image, id_map, segments = generate("base", SPLIT_SEEDS[split], index, size)
        seen.update(image.tobytes() + id_map.tobytes())
        seen.update(repr([(s.id, CATEGORIES[s.category].id, s.area) for s in segments]).encode())
    assert seen.hexdigest()[:16] == digest


def test_splits_have_distinct_seeds() -> None:
    assert len(set(SPLIT_SEEDS.values())) == len(SPLIT_SEEDS) == 3


def test_segments_follow_the_recipe() -> None:
    recipe, seen, number_of_things = PARTS["base"], Counter[int](), Counter[int]()
    for index in range(60):
        _, id_map, segments = generate("base", 11, index, 128)
        ids, counts = np.unique(id_map[id_map > 0], return_counts=True)
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {s.id: s.area for s in segments}
        assert all(0 < s.id < 2**24 and s.area >= recipe.min_area and not s.iscrowd for s in segments)
        stuff = [s.category for s in segments if not s.isthing]
        assert len(stuff) == len(set(stuff)) and 1 <= len(stuff) <= recipe.stuff_per_image[1]
        seen.update(s.category for s in segments)
        number_of_things[sum(s.isthing for s in segments)] += 1
    assert {CATEGORIES[category].id for category in seen} == {row.id for row in (*THINGS, *STUFF)}
    assert all(s.isthing == (s.category in CATEGORIES.things) for s in segments)
    assert max(number_of_things) <= recipe.things_per_image[1] and len(number_of_things) > 2


def test_each_hue_is_shared_by_two_shapes() -> None:
    for recipe in PARTS.values():
        assert set(Counter(row.hue for row in recipe.things).values()) == {2}
    assert {row.shape for row in THINGS} == set(SHAPES) - {"diamond"}
    assert {row.shape for row in PARTS["thin"].things} == set(OUTLINES)


def test_all_parts_have_one_list_of_categories_with_things_first(tmp_path: Path) -> None:
    for part in (*PARTS, *MIXES):
        root = embedded_root(part, size=64, counts={"val2017": 2}, cache=tmp_path)
        assert CocoPanoptic(root).categories == CATEGORIES
    isthing = [row.isthing for row in CATEGORIES]
    assert isthing == [True] * 10 + [False] * 5
    assert len({row.name for row in CATEGORIES}) == len({row.color for row in CATEGORIES}) == 15


def test_a_mix_draws_each_image_from_a_part() -> None:
    for name, stated in MIXES.items():
        assert set(stated) <= set(PARTS) and sum(stated.values()) == pytest.approx(1)
        drawn = [part_of(name, SPLIT_SEEDS["train2017"], index) for index in range(2000)]
        assert drawn == [part_of(name, SPLIT_SEEDS["train2017"], index) for index in range(2000)]
        assert drawn[:100] != [part_of(name, SPLIT_SEEDS["val2017"], index) for index in range(100)]
        for part, share in shares(name).items():
            assert drawn.count(part) / 2000 == pytest.approx(share, abs=0.04)
        for index, part in enumerate(drawn[:12]):
            image, id_map, segments = generate(name, SPLIT_SEEDS["train2017"], index, 64)
            scene = generate(part, SPLIT_SEEDS["train2017"], index, 64)
            assert np.array_equal(image, scene[0]) and np.array_equal(id_map, scene[1]) and segments == scene[2]


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", np.pi),
        ("square", 1.4**2),
        ("triangle", 3 * np.sqrt(3) / 4),
        ("cross", 4 * (2 * 0.95 * 0.28 - 0.28**2)),
        ("star", 10 * 0.5 * 0.45 * np.sin(np.pi / 5)),
        ("bar", 4 * 0.94 * 0.3),
        ("ring", 0.75 * np.pi),
        ("diamond", 2 * 0.6),
    ],
)
def test_shapes_have_the_area_of_their_geometry_and_fit_the_unit_disc(shape: str, area: float) -> None:
    axis = (np.arange(-600, 600, dtype=np.float32) + 0.5) / 500
    mask = SHAPES[shape](axis[None], axis[:, None])
    assert mask.sum() / 500**2 == pytest.approx(area, rel=0.01)
    assert not (mask & (axis[None] ** 2 + axis[:, None] ** 2 > 1.001)).any()


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("square", 4 * (0.7**2 - 0.5**2)),
        ("triangle", 3 * np.sqrt(3) * (0.5**2 - 0.3**2)),
        ("cross", 4 * (2 * 0.95 * 0.1 - 0.1**2)),
        ("bar", 4 * 0.94 * 0.1),
        ("ring", np.pi * (1 - 0.8**2)),
        ("crescent", 2 * np.arcsin(0.1) + 0.2 * np.sqrt(1 - 0.1**2)),
    ],
)
def test_outlines_have_the_area_of_their_geometry_and_fit_the_unit_disc(shape: str, area: float) -> None:
    axis = (np.arange(-600, 600, dtype=np.float32) + 0.5) / 500
    mask = OUTLINES[shape](axis[None], axis[:, None], 0.2)
    assert mask.sum() / 500**2 == pytest.approx(area, rel=0.015)
    assert not (mask & (axis[None] ** 2 + axis[:, None] ** 2 > 1.001)).any()


def test_the_folder_holds_what_was_generated(root: Path) -> None:
    for split, count in COUNTS.items():
        dataset = CocoPanoptic(root, split)
        assert len(dataset) == count and dataset.image_sizes == [(64, 64)] * count
        for index, sample in enumerate(dataset):
            image, id_map, segments = generate("base", SPLIT_SEEDS[split], index, 64)
            assert np.array_equal(sample.id_map.numpy(), id_map)
            assert list(sample.segments) == segments
            error = np.abs(sample.image.permute(1, 2, 0).numpy().astype(int) - image)
            assert error.mean() < 8  # JPEG with halved chroma; another scene is off by 40 and more


def test_boxes_are_tight(root: Path) -> None:
    content = json.loads((root / "annotations/panoptic_val2017.json").read_text())
    id_map = CocoPanoptic(root)[0].id_map
    for info in content["annotations"][0]["segments_info"]:
        x, y, width, height = info["bbox"]
        mask = id_map == info["id"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum() == info["area"]
        assert mask[y].any() and mask[:, x].any() and mask[y + height - 1].any() and mask[:, x + width - 1].any()


def test_a_made_folder_is_reused_and_a_changed_recipe_gets_another(root: Path, tmp_path: Path) -> None:
    def forbidden(done: int, total: int) -> None:
        raise AssertionError("generated again")

    assert embedded_root(size=64, counts=COUNTS, cache=root.parent, progress=forbidden) == root
    other = embedded_root(size=64, counts={"val2017": 1}, cache=tmp_path)
    assert other.name != root.name and other.name.startswith("base-64px-")


def test_progress_counts_all_images(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    embedded_root(
        size=64,
        counts={"tune2017": 2, "val2017": 1},
        cache=tmp_path,
        progress=lambda *state: calls.append(state),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_two_processes_share_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    calls = context.Value("i", 0)

    def make() -> None:
        def count(done: int, total: int) -> None:
            with calls.get_lock():
                calls.value += 1

        embedded_root(size=64, counts={"val2017": 20}, cache=tmp_path, progress=count)

    processes = [context.Process(target=make) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert calls.value == 20
    assert len(CocoPanoptic(embedded_root(size=64, counts={"val2017": 20}, cache=tmp_path))) == 20


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFBENCH_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert embedded_root(size=64, counts={"val2017": 1}).parent == tmp_path / "a"
    monkeypatch.delenv("EFFBENCH_CACHE")
    assert embedded_root(size=64, counts={"val2017": 1}).parent == tmp_path / "b" / "effbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert embedded_root(size=64, counts={"val2017": 1}).parent == tmp_path / ".cache" / "effbench"


def test_a_changed_source_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = embedded._fingerprint("base", 64, COUNTS)
    assert before == embedded._fingerprint("base", 64, dict(reversed(COUNTS.items())))
    monkeypatch.setattr("inspect.getsource", lambda module: "changed")
    assert embedded._fingerprint("base", 64, COUNTS) != before


def test_the_fingerprint_has_all_that_draws() -> None:
    imported = {name for name in closure(["effbench.data.embedded"]) if name.startswith("effbench.data.embedded")}
    assert {module.__name__ for module in embedded.SOURCES} == imported - {"effbench.data.embedded_writer"}


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown part 'hard'.*expected one of base, context, twins, thin, mixed"):
        embedded_root("hard", cache=tmp_path)
    with pytest.raises(InputError, match="63 px is too small"):
        generate("base", 1, 0, 63)
    with pytest.raises(InputError, match="16 px is too small"):
        embedded_root(size=16, cache=tmp_path)
    for counts in ({}, {"val2017": 0}, {"test2017": 5}):
        with pytest.raises(InputError, match="expected at least 1 image for splits among"):
            embedded_root(counts=counts, cache=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written there.*EFFBENCH_CACHE"):
        embedded_root(size=64, counts={"val2017": 1}, cache=tmp_path / "file")

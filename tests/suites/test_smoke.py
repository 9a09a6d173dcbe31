"""The smoke plan that both suites share: cells from the photos, and nothing measured on a data root that is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench.data.roots import Dataset, layout_of
from effbench.errors import InputError
from effbench.study.data_root import checked_root
from effbench.study.suite import Options, Plan, Task, find_suite
from effbench.suites import smoke
from effbench.suites.systems import COUNTED, SYSTEMS


@pytest.fixture
def make(photos: Path) -> Callable[..., Plan]:
    """The smoke plan of all systems, on the photos where nothing else is said."""

    def of(root: Path = photos, limit: int | None = None) -> Plan:
        return smoke.plan(list(SYSTEMS), checked_root(root, layout_of(root), 133), 133, limit)

    return of


def tasks_of(plan: Plan, probe: str) -> list[Task]:
    return [task for task in plan.tasks if task.probe == probe]


def test_it_takes_its_cells_from_the_photos(make: Callable[..., Plan], photos: Path) -> None:
    plan = make()
    assert plan.profile == "smoke"
    for probe, systems in (("macs", COUNTED), ("latency", SYSTEMS), ("quality", SYSTEMS)):
        assert [task.cell.system for task in tasks_of(plan, probe)] == [system.label for system in systems], probe
    assert {task.cell.size for task in plan.tasks} == {"data"}
    assert {task.cell.classes for task in plan.tasks} == {133}
    data = [task for task in plan.tasks if "panoptic_sample" not in task.inputs]
    assert {task.inputs["data_root"] for task in data} == {str(photos)}
    assert {task.cell.options["images"] for task in tasks_of(plan, "latency")} == {4}
    assert {task.cell.options["images"] for task in tasks_of(plan, "quality")} == {8}
    assert any("smoke" in note.lower() and "says nothing" in note for note in plan.notes)


def test_the_limit_widens_the_evaluation(make: Callable[..., Plan]) -> None:
    for limit, truth in ((79, 100), (300, 300)):
        plan = make(limit=limit)
        assert {task.cell.options["images"] for task in tasks_of(plan, "quality")} == {limit}
        assert tasks_of(plan, "ground_truth")[0].cell.options["images"] == truth, "the check takes no training"


def test_sizes_are_those_of_the_layout(make: Callable[..., Plan], photos: Path, city_photos: Path) -> None:
    """Evaluated at half the side that the data set is tested at, with its aspect kept."""
    for root, said, longest in ((photos, "800/1333", 853), (city_photos, "1024/2048", 1024)):
        plan = make(root)
        assert said in plan.legend
        for task in tasks_of(plan, "quality"):
            inference = task.cell.options["inference"]
            assert (inference["short"], inference["longest"]) == (512, longest)


def test_a_data_root_is_known_by_its_content_and_not_by_its_place(
    make: Callable[..., Plan], photos: Path, tmp_path: Path
) -> None:
    def ids(root: Path) -> list[str]:
        return [task.cell.id for task in make(root).tasks]

    moved = Path(shutil.copytree(photos, tmp_path / "elsewhere"))
    assert ids(moved) == ids(photos)
    annotations = moved / "annotations/panoptic_val2017.json"
    content = json.loads(annotations.read_text())
    content["images"].pop()
    content["annotations"].pop()
    annotations.write_text(json.dumps(content))
    # the sample beside the root is other data, which has not changed
    assert len(set(ids(moved)) & set(ids(photos))) == 1


def test_a_path_from_here_is_one_from_anywhere(
    make: Callable[..., Plan], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks run in processes of their own."""
    monkeypatch.chdir(photos.parent)
    assert make(Path(photos.name)).tasks == make(photos).tasks


def test_ground_truth_is_scored_against_itself(make: Callable[..., Plan], photos: Path, tmp_path: Path) -> None:
    own, sample = tasks_of(make(), "ground_truth")
    assert own.inputs == {"data_root": str(photos)}
    assert own.skip is None
    assert sample.skip == "no folder panoptic_sample beside the data root"

    (tmp_path / "panoptic_sample").mkdir()
    _, sample = tasks_of(make(Path(shutil.copytree(photos, tmp_path / "photos"))), "ground_truth")
    assert sample.skip is None
    assert sample.inputs == {"panoptic_sample": str(tmp_path / "panoptic_sample")}


@pytest.mark.parametrize("variable", ["EFFBENCH_DATASETS", "DETECTRON2_DATASETS"])
@pytest.mark.parametrize("suite", ["coco", "cityscapes"])
def test_the_environment_names_the_photos_where_no_option_does(
    suite: str, variable: str, photos: Path, city_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "datasets" / suite
    root.parent.mkdir()
    root.symlink_to(photos if suite == "coco" else city_photos)
    monkeypatch.setenv(variable, str(root.parent))
    plan = find_suite(suite).plan
    assert plan(Options(profile="smoke")) == plan(Options(data_root=root))
    assert plan(Options()).profile != "smoke", "a variable alone asks for nothing"


@pytest.mark.parametrize("folder", ["train2017", "val2017", "panoptic_train2017", "panoptic_val2017"])
def test_annotations_without_their_images_are_refused_before_anything_runs(
    folder: str, make: Callable[..., Plan], photos: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(photos, tmp_path / "photos"))
    shutil.rmtree(root / folder)
    with pytest.raises(InputError, match=rf"{folder} not found; expected the COCO panoptic layout"):
        make(root)


def test_both_splits_are_read_before_anything_runs(make: Callable[..., Plan], city_photos: Path) -> None:
    (photo,) = (city_photos / "leftImg8bit/val/ulm").iterdir()
    photo.unlink()
    with pytest.raises(InputError, match=rf"{photo.name}: file not found"):
        make(city_photos)


@pytest.mark.parametrize(
    ("suite", "message"),
    [("cityscapes", "has the layout of coco; expected cityscapes's"), ("coco", "has 15 classes; expected at most 14")],
)
def test_photos_of_another_data_set_are_refused(suite: Dataset, message: str, photos: Path) -> None:
    with pytest.raises(InputError, match=message):
        checked_root(photos, suite, 14)

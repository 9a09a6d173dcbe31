"""The command line: its answers as JSON, and one clear line for whatever it cannot use."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from effbench.encoders.registry import registered
from effbench.probes.mac_count import CONVENTIONS
from effbench.study.environment import environment
from effbench.study.record import Record, RecordBook
from effbench.study.runner import Outcome, Runner, task_key
from effbench.study.suite import Options, find_suite

SMALL = ("--backbone", "resnet_mini", "--size", "64x96")


Call = Callable[..., Any]
Refused = Callable[..., str]


# --- help ------------------------------------------------------------------------------------------------------------

OPTIONS = {
    "list": ["--json"],
    "run": ["--profile", "--data-root", "--limit", "--system", "--results", "--retry-failed", "--dry-run", "--json"],
    "report": ["--profile", "--data-root", "--limit", "--system", "--results"],
    "macs": ["--set", "--backbone", "--size", "--classes", "--queries", "--json"],
    "train": [
        *("--out", "--data-root", "--dataset", "--set", "--backbone", "--queries", "--steps", "--batch-size", "--crop"),
        *("--learning-rate", "--sampling", "--augmentation", "--workers", "--seed"),
    ],
    "eval": ["--data-root", "--dataset", "--limit", "--short", "--object-threshold", "--export", "--json"],
}


def test_help_names_every_command(effbench: Call) -> None:
    answer = effbench("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in OPTIONS)


@pytest.mark.parametrize("command", OPTIONS)
def test_help_of_a_command_names_its_options(command: str, effbench: Call) -> None:
    answer = effbench(command, "--help")
    assert answer.code == 0
    for option in OPTIONS[command]:
        assert option in answer.out


def test_no_command_shows_the_help(effbench: Call) -> None:
    answer = effbench()
    assert "macs" in answer.out + answer.err


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("macs",), ("macs", "fpn", "--colour", "red"), ("train", "fpn")]
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], effbench: Call) -> None:
    answer = effbench(*arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err


# --- list and macs ---------------------------------------------------------------------------------------------------


def test_list_as_json(effbench: Call) -> None:
    answer = effbench("list", "--json")
    assert answer.code == 0
    assert answer.last["encoders"].keys() == registered().keys()
    assert answer.last["encoders"]["proscale"]["p"] == [3, 3, 3]
    assert {"r50", "swin_t", "swin_l"} <= set(answer.last["backbones"])
    assert answer.last["suites"].keys() == {"cityscapes", "coco", "eco"}


def test_list_for_reading(effbench: Call) -> None:
    answer = effbench("list")
    assert answer.code == 0
    for name in (*registered(), "recalibration=released", "swin_t", "Suite coco"):
        assert name in answer.out


COMPONENTS = {"backbone", "encoder", "decoder", "post_processing", "other", "total"}


def test_macs_as_json_has_the_documented_keys(effbench: Call) -> None:
    answer = effbench("macs", "proscale", "--set", "p=1,1,1", *SMALL, "--json")
    assert answer.code == 0
    keys = {"system", "settings", "backbone", "size", "classes", "queries", "unit", *CONVENTIONS, "left_out"}
    assert answer.last.keys() == keys
    assert answer.last["papers"].keys() == answer.last["complete"].keys() == COMPONENTS
    assert (answer.last["system"], answer.last["unit"]) == ("proscale", "GMAC")
    assert (answer.last["backbone"], answer.last["size"]) == ("resnet_mini", "64x96")
    assert answer.last["settings"]["p"] == [1, 1, 1]
    assert answer.last["settings"]["dim"] == 256, "defaults are said, too"
    for convention in CONVENTIONS:
        parts = dict(answer.last[convention])
        assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert answer.last["complete"]["encoder"] > answer.last["papers"]["encoder"]
    missed = answer.last["complete"]["total"] - answer.last["papers"]["total"]
    assert missed == pytest.approx(sum(answer.last["left_out"].values()))


@pytest.mark.parametrize("size", ["1024x2048", "cityscapes"])
def test_macs_gives_the_papers_figure(size: str, effbench: Call) -> None:
    answer = effbench("macs", "proscale", "--set", "p=1,1,1", "--backbone", "swin_t", "--size", size, "--json")
    assert answer.last["papers"]["encoder"] == pytest.approx(55.14, rel=1e-3)
    assert answer.last["classes"] == 19


@pytest.mark.parametrize(
    ("arguments", "classes", "queries"),
    [
        (SMALL, 133, 100),
        ((*SMALL, "--classes", 7, "--queries", 5), 7, 5),
        (("--backbone", "swin_l", "--size", "64x64"), 133, 200),
    ],
)
def test_classes_and_queries_follow_size_and_backbone(
    arguments: tuple[object, ...], classes: int, queries: int, effbench: Call
) -> None:
    answer = effbench("macs", "fpn", *arguments, "--json")
    assert (answer.last["classes"], answer.last["queries"]) == (classes, queries)


def test_more_classes_cost_more(effbench: Call) -> None:
    few, many = (effbench("macs", "fpn", *SMALL, "--classes", n, "--json").last["papers"] for n in (10, 100))
    assert few["encoder"] == many["encoder"]
    assert few["decoder"] < many["decoder"]
    assert few["post_processing"] < many["post_processing"]


def test_macs_for_reading(effbench: Call) -> None:
    answer = effbench("macs", "fpn", *SMALL)
    assert answer.code == 0
    assert all(word in answer.out for word in (*COMPONENTS, *CONVENTIONS, "GMACs", "papers leaves out: "))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["proscal"], ["no encoder is called 'proscal'", "did you mean proscale", "known: "]),
        (["fpn", "--backbone", "resnet5"], ["no backbone is called 'resnet5'", "did you mean resnet5"]),
        (["fpn", "--backbone", "zzz"], ["no backbone is called 'zzz'", "r50"]),
        (["fpn", "--backbone", "vit_base_patch16_224"], ["strides [16]", "expected [4, 8, 16, 32]"]),
        (["proscale", "--set", "p=0,0,0"], ["p=(0, 0, 0)"]),
        (["proscale", "--set", "p=1,1"], ["p=(1, 1)"]),
        (["proscale", "--set", "p=-1,1,1"], ["p=(-1, 1, 1)"]),
        (["mask2former", "--set", "dim=100"], ["dim=100", "8"]),
        (["mask2former", "--set", "heads=3"], ["dim=256", "heads=3"]),
        (["mask2former", "--set", "dim=0"], ["dim=0"]),
        (["mask2former", "--set", "layers=0"], ["layers=0"]),
        (["fpn", "--set", "dim=33"], ["dim=33", "32"]),
        (["fpn", "--set", "embedding=maxpool"], ["embedding='maxpool'", "max_pool"]),
        (["proscale", "--set", "recalibration=on"], ["recalibration='on'", "released"]),
        (["mask2former", "--set", "impl=cuda"], ["cuda", "reference"]),
        (["proscale", "--set", "p"], ["expected NAME=VALUE"]),
        (["proscale", "--set", "p=a,b,c"], ["setting p='a,b,c'"]),
        (["proscale", "--set", "embeding=conv"], ["no setting 'embeding'", "did you mean embedding"]),
        (["fpn", "--set", "heads=4"], ["fpn has no setting 'heads'"]),
        (["fpn", "--size", "1024"], ["size '1024'", "expected HxW"]),
        (["fpn", "--size", "0x64"], ["size '0x64'"]),
        (["fpn", "--size", "large"], ["size 'large'"]),
        (["fpn", "--size", "coco:first0"], ["1 to 100"]),
        (["fpn", "--size", "coco:first101"], ["1 to 100"]),
    ],
)
def test_macs_refuses_in_one_line(arguments: list[str], parts: list[str], refused: Refused) -> None:
    line = refused("macs", *arguments)
    assert all(part in line for part in parts), line


@pytest.mark.parametrize("command", ["run", "report"])
@pytest.mark.parametrize("suite", ["coco", "cityscapes"])
def test_a_bad_data_root_is_one_line_and_leaves_nothing(
    suite: str, command: str, refused: Refused, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    line = refused(command, suite, "--data-root", "/nonexistent", "--results", results)
    assert f"/nonexistent not found; expected the folder of {suite} there because of the data root" in line
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["cocoa"], "no suite is called 'cocoa'"),
        (["coco", "--profile", "half"], "profile 'half'"),
        (["coco", "--profile", "full", "--data-root", "."], "leave one of the two out"),
        (["coco", "--profile", "full", "--device", "tpu"], "device 'tpu'; expected one of cpu, cuda"),
        (["coco", "--device", "cuda"], "profile quick runs on the CPU, not on cuda; leave --device out"),
        (["coco", "--profile", "smoke"], "--data-root PATH), or EFFBENCH_DATASETS or DETECTRON2_DATASETS"),
        (["coco", "--profile", "quick", "--data-root", "."], "leave one of the two out"),
        (["cityscapes", "--profile", "quick"], "profile 'quick'"),
        (["cityscapes", "--profile", "costs", "--data-root", "."], "needs no photos"),
        (["cityscapes", "--limit", "3"], "--limit"),
        (["coco", "--limit", "3"], "--limit"),
        (["coco", "--system", "resnet"], "system 'resnet'"),
    ],
)
def test_run_refuses_what_does_not_fit_together(
    arguments: list[str], part: str, refused: Refused, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    assert part in refused("run", *arguments, "--results", results)
    assert not results.exists()


def test_a_results_folder_that_cannot_be_made_is_one_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert str(tmp_path / "file") in refused("run", "coco", "--results", tmp_path / "file")


def test_a_report_of_nothing_is_refused(refused: Refused, tmp_path: Path) -> None:
    line = refused("report", "coco", "--results", tmp_path)
    assert "records.jsonl not found" in line and "effbench run coco" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["fpn", "--crop", "33"], ["33", "multiple of 32"]),
        (["fpm"], ["no encoder is called 'fpm'", "fpn"]),
        (["fpn", "--set", "dim=33"], ["dim=33"]),
        (["fpn", "--sampling", "sparse"], ["sampling='sparse'"]),
        (["fpn", "--augmentation", "mosaic"], ["augmentation='mosaic'", "large_scale_jitter"]),
        (["fpn", "--backbone", "zzz"], ["zzz"]),
    ],
)
def test_train_refuses_in_one_line(
    arguments: list[str], parts: list[str], refused: Refused, tmp_path: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    line = refused("train", *arguments, "--out", out, "--data-root", photos)
    assert all(part in line for part in parts), line
    assert not (out / "weights.pt").exists()


def test_a_training_that_diverges_is_one_line(refused: Refused, tmp_path: Path, photos: Path) -> None:
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--batch-size", 2, "--crop", 64]
    line = refused("train", "fpn", "--out", tmp_path, "--data-root", photos, *narrow, "--learning-rate", "1e30")
    assert "the training has diverged" in line and "lower the learning rate" in line
    assert not (tmp_path / "weights.pt").exists()


def test_train_refuses_a_bad_data_root(refused: Refused, tmp_path: Path) -> None:
    line = refused("train", "fpn", "--out", tmp_path / "out", "--data-root", "/nonexistent")
    assert "/nonexistent has neither of the layouts; expected COCO panoptic" in line
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_should_be_is_one_line(refused: Refused, tmp_path: Path, photos: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    for out in (file, file / "out"):
        line = refused("train", "fpn", "--steps", 1, "--out", out, "--data-root", photos)
        assert str(file) in line and "name a file or folder that can be read and written" in line
    assert file.read_text() == "no folder"


def test_eval_refuses_a_folder_without_a_model(refused: Refused, tmp_path: Path, photos: Path) -> None:
    line = refused("eval", tmp_path, "--data-root", photos)
    assert "model.json not found" in line and "effbench train" in line


def test_the_real_process_prints_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "effbench.cli", "run", "coco", "--data-root", "/nonexistent"]
    root = str(Path(__file__).parents[1])
    done = subprocess.run([*command, "--results", str(tmp_path / "results")], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: /nonexistent not found; expected the folder of coco there")
    assert not (tmp_path / "results").exists()


# --- run, report, train, eval ----------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_do_and_does_nothing(effbench: Call, tmp_path: Path, photos: Path) -> None:
    results = tmp_path / "results"
    # no panoptic_sample lies beside the photos
    for arguments, skipped in (([], 0), (["--data-root", photos], 1)):
        answer = effbench("run", "coco", *arguments, "--dry-run", "--json", "--results", results)
        assert answer.code == 0
        tasks = answer.last["tasks"]
        assert answer.last["folder"].startswith(str(results))
        assert tasks and all(task.keys() == {"task", "status"} for task in tasks)
        assert Counter(task["status"] for task in tasks) == Counter({"to do": len(tasks) - skipped, "to skip": skipped})
        assert all(f"{task['status']}  {task['task']}" in answer.out for task in tasks)
        assert any("fpn" in task["task"] for task in tasks)
    assert not results.exists()


def test_cityscapes_needs_no_data_to_count(effbench: Call, tmp_path: Path) -> None:
    answer = effbench("run", "cityscapes", "--dry-run", "--json", "--results", tmp_path / "results")
    assert answer.code == 0
    assert answer.last["folder"].endswith("cityscapes/costs")
    titles = [task["task"] for task in answer.last["tasks"]]
    assert all(title.endswith(("MACs", "parameters")) for title in titles)
    assert {"mask2former on r50 MACs", "fpn on swin_t parameters"} <= set(titles)
    assert not (tmp_path / "results").exists()


@pytest.fixture
def on_record(effbench: Call, tmp_path: Path) -> Callable[..., Path]:
    """A results folder with a record of every task of `run coco`: its status and detail by the task's number."""

    def write(says: Callable[[int], dict[str, Any]]) -> Path:
        folder = Path(effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"])
        book = RecordBook(folder / "records.jsonl")
        for number, task in enumerate(find_suite("coco").plan(Options()).tasks):
            cell_id, probe, version, source, _, host = task_key(task)
            record = Record(
                task.cell.to_json(),
                cell_id,
                probe,
                version,
                unit="",
                samples=[],
                source=source,
                environment=environment(),
                host=host,
                started_at="2026-01-02T03:04:05+00:00",
                seconds=1.5,
                **{"reason": "as told", **says(number)},
            )
            book.append(record)
        return tmp_path

    return write


def test_a_dry_run_tells_what_stands_and_what_is_to_do(effbench: Call, on_record: Callable[..., Path]) -> None:
    says = [
        {"status": "ok", "reason": None},
        {"status": "failed"},
        {"status": "out_of_memory"},
        {"status": "failed", "detail": {"signal": 9}},  # measured again
        {"status": "skipped"},  # for a reason that is gone
    ]
    results = on_record(lambda number: says[min(number, 4)])
    first = ["ok", "failed", "out_of_memory", "to do", "to do"]
    answer = effbench("run", "coco", "--dry-run", "--json", "--results", results)
    assert [task["status"] for task in answer.last["tasks"][:5]] == first
    assert f"failed  {answer.last['tasks'][1]['task']}" in answer.out
    answer = effbench("run", "coco", "--dry-run", "--json", "--retry-failed", "--results", results)
    assert [task["status"] for task in answer.last["tasks"][:5]] == ["ok", *["to do"] * 4]


def test_failures_that_stand_end_with_1_though_nothing_is_measured(
    effbench: Call, on_record: Callable[..., Path]
) -> None:
    results = on_record(lambda number: {"status": "failed" if number % 2 else "out_of_memory"})
    answer = effbench("run", "coco", "--results", results, "--json")
    tasks = len(find_suite("coco").plan(Options()).tasks)
    assert answer.code == 1
    assert answer.last == {
        "folder": answer.last["folder"],
        "measured": 0,
        "measured_before": tasks,
        "failed": tasks,
    }
    assert f"{tasks} tasks failed" in answer.out and "--retry-failed" in answer.out


@pytest.mark.parametrize("command", ["run", "report"])
def test_reading_mends_nothing_since_another_process_may_be_writing(
    command: str, effbench: Call, tmp_path: Path
) -> None:
    """A line that is half written is put aside by the run that has the lock, not by one who only looks."""
    folder = Path(effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"])
    folder.mkdir(parents=True)
    (folder / "records.jsonl").write_text('{"schema": 1, "cell": {"enc')
    answer = effbench(command, "coco", *(["--dry-run"] if command == "run" else []), "--results", tmp_path)
    assert answer.code == 0
    assert (folder / "records.jsonl").read_text() == '{"schema": 1, "cell": {"enc'
    assert not (folder / "records.jsonl.torn").exists()


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (2, 1)])
def test_run_reports_and_its_exit_code_says_whether_something_failed(
    failed: int, code: int, effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(self: Runner, tasks: Any) -> Outcome:
        self.folder.mkdir(parents=True)
        return Outcome(measured=3, measured_before=1, failed=failed)

    monkeypatch.setattr(Runner, "run", measured)  # measuring takes minutes
    answer = effbench("run", "coco", "--results", tmp_path, "--json")
    assert answer.code == code
    assert answer.last == {
        "folder": str(next(tmp_path.glob("*/coco/quick"))),
        "measured": 3,
        "measured_before": 1,
        "failed": failed,
    }
    (page,) = tmp_path.glob("*/coco/quick/README.md")
    full, narrow = answer.out.split("coco, profile quick, full width")[1].split("coco, profile quick, narrow")
    assert "encoder GFLOPs" in full and "encoder M" in full and "PQ" not in full
    assert "PQ things" in narrow and "printed" not in narrow
    assert f"Report: {page}" in answer.out
    assert ("--retry-failed" in answer.out) == bool(failed)


def test_a_suite_without_narrow_models_is_one_table(
    effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "run", lambda self, tasks: Outcome(measured=0, measured_before=0, failed=0))
    answer = effbench("run", "cityscapes", "--results", tmp_path)
    assert answer.code == 0
    assert "cityscapes, profile costs, full width" in answer.out and "costs, narrow" not in answer.out
    assert all(name in answer.out for name in ("convnext_unet", "r50", "swin_t", "printed"))
    assert "Costs alone: nothing was trained or timed." in answer.out


def test_an_interrupt_ends_with_130(effbench: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "run", interrupted)
    answer = effbench("run", "coco", "--results", tmp_path)
    assert answer.code == 130
    assert "Traceback" not in answer.err


def test_train_then_eval(effbench: Call, refused: Refused, tmp_path: Path, photos: Path) -> None:
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6]
    recipe = ["--steps", 2, "--batch-size", 2, "--crop", 64]
    answer = effbench("train", "fpn", "--out", tmp_path / "out", "--data-root", photos, *narrow, *recipe)
    assert answer.code == 0, answer
    assert (tmp_path / "out/weights.pt").is_file()
    assert str(tmp_path / "out/weights.pt") in answer.out

    thresholds = ["--limit", 2, "--object-threshold", 0]
    export = ["--export", tmp_path / "predictions"]
    answer = effbench("eval", tmp_path / "out", "--data-root", photos, *thresholds, *export, "--json")
    assert answer.code == 0, answer
    assert answer.last["images"] == 2
    assert answer.last["all"].keys() == {"pq", "sq", "rq", "categories"}
    assert all(word in answer.out for word in ("things", "stuff", "small", "large", "PQ", "SQ", "RQ"))
    assert f"mIoU_p {answer.last['miou']['miou']:.2f}" in answer.out
    assert f"AP_p {answer.last['ap']['ap']:.2f}" in answer.out
    assert "APl -" in answer.out, "64 x 64 pixels hold nothing large"
    assert len(list((tmp_path / "predictions/panoptic").iterdir())) == 2
    assert len(json.loads((tmp_path / "predictions/panoptic.json").read_text())["annotations"]) == 2

    assert "panoptic.json exists" in refused("eval", tmp_path / "out", "--data-root", photos, *export)


# --- data sets by name -----------------------------------------------------------------------------------------------


@pytest.fixture
def datasets(photos: Path, city_photos: Path, tmp_path: Path) -> Path:
    """A folder with both data sets under the names by which they are found."""
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "coco").symlink_to(photos)
    (folder / "cityscapes").symlink_to(city_photos)
    return folder


@pytest.mark.parametrize("variable", ["EFFBENCH_DATASETS", "DETECTRON2_DATASETS"])
def test_smoke_finds_its_photos_through_the_environment(
    variable: str, effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(datasets))
    for suite in ("coco", "cityscapes"):
        common = ("run", suite, "--dry-run", "--json", "--results", tmp_path / "results")
        named = effbench(*common, "--profile", "smoke").last
        assert named == effbench(*common, "--data-root", datasets / suite).last
        assert named["folder"].endswith(f"{suite}/smoke")


def test_a_variable_alone_does_not_turn_a_profile_into_smoke(
    effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFBENCH_DATASETS", str(datasets))
    assert effbench("run", "coco", "--dry-run", "--json", "--results", tmp_path).last["folder"].endswith("coco/quick")


def test_train_and_eval_take_a_data_set_by_name(
    effbench: Call, datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EFFBENCH_DATASETS", str(datasets))
    narrow = ["--set", "dim=32", "--set", "mask_dim=32", "--queries", 6, "--steps", 1, "--batch-size", 1, "--crop", 64]
    for dataset, categories, augmentation in (("coco", 15, "large_scale_jitter"), ("cityscapes", 2, "cityscapes")):
        out = tmp_path / dataset
        chosen = ["--dataset", dataset, "--augmentation", augmentation, "--workers", 1]
        answer = effbench("train", "fpn", "--out", out, *chosen, *narrow)
        assert answer.code == 0, answer
        assert f'"num_classes": {categories}' in (out / "model.json").read_text()
        answer = effbench("eval", out, "--dataset", dataset, "--short", 64, "--object-threshold", 0, "--json")
        assert answer.code == 0, answer
        assert answer.last["images"] == 3


@pytest.mark.parametrize("command", ["train", "eval"])
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--dataset", "ade20k"], "no data set is called 'ade20k'; expected one of coco, cityscapes"),
        (["--dataset", "cityscapes"], "no folder of the data set cityscapes is known; expected one of: a data root"),
        (["--dataset", "cityscapes", "--data-root", "coco"], "has the layout of coco; expected cityscapes"),
        (["--dataset", "coco", "--data-root", "cityscapes"], "has the layout of cityscapes; expected coco"),
        (["--dataset", "coco", "--data-root", "gone"], "gone not found; expected the folder of coco there"),
    ],
)
def test_a_data_set_that_is_not_there_is_refused(
    arguments: list[str],
    part: str,
    command: str,
    refused: Refused,
    datasets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(datasets)
    model = ["fpn", "--out", tmp_path / "out"] if command == "train" else [tmp_path / "out"]
    assert part in refused(command, *model, *arguments)
    assert not (tmp_path / "out").exists()

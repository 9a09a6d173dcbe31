"""Suite kernels: what it compares, in which order, and the script that measures it on a GPU."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from effbench.errors import InputError
from effbench.kernels.ms_deform_attn import IMPLEMENTATIONS
from effbench.peers import registry
from effbench.probes import encoder
from effbench.probes.base import load_probe
from effbench.probes.kernel_inputs import problem
from effbench.study.cell import Cell
from effbench.study.record import RecordBook
from effbench.study.runner import skip_reason
from effbench.study.statistics import LEAST_SAMPLES
from effbench.study.suite import Options, Plan, Task
from effbench.suites import kernels, kernels_encoder, kernels_gpu
from effbench.suites.kernels import SUITE, Call

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick() -> Plan:
    return SUITE.plan(Options())


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return SUITE.plan(Options(profile="gpu"))


def operator(plan: Plan) -> list[Task]:
    """Tasks on the operator alone."""
    return [task for task in plan.tasks if task.probe == "kernel"]


def whole(plan: Plan) -> list[Task]:
    """Tasks on the whole encoder."""
    return [task for task in plan.tasks if task.probe == "encoder"]


def asked(plan: Plan, option: str) -> set[str]:
    return {task.cell.options[option] for task in operator(plan)}


def test_its_tables_are_the_probes() -> None:
    for name in kernels.SIZES:
        of = problem(Call(name).cell("cpu"))
        assert of.encoder and (of.M, of.D, of.P) == (8, 32, 4), f"{name}: every token asks"
    assert not problem(Call(queries=300).cell("cpu")).encoder
    named = {*kernels.OURS_ON_CPU, kernels.KERNEL, "transformers", kernels.COMPILED, *kernels.PACKAGES}
    assert named == registry.peers().keys() and {*kernels.OURS_ON_CPU, kernels.KERNEL} == {*IMPLEMENTATIONS}
    assert kernels.ENTRY_POINTS == registry.ENTRY_POINTS


@pytest.mark.parametrize("name", ["quick", "gpu"])
def test_every_task_can_be_asked_and_is_there_once(name: str, request: pytest.FixtureRequest) -> None:
    plan: Plan = request.getfixturevalue(name)
    keys = Counter((task.cell.id, task.probe) for task in plan.tasks)
    assert max(keys.values()) == max(Counter(task.title for task in plan.tasks).values()) == 1
    assert {task.cell.device for task in plan.tasks} == {plan.device}
    assert {task.probe for task in plan.tasks} == {"kernel", "encoder"}
    for task in plan.tasks:
        cell = Cell.from_json(task.cell.to_json())
        load_probe(task.probe).missing(cell)  # it would raise for an option that does not exist
        assert cell.options["samples"] >= LEAST_SAMPLES[50] and task.alone
        if task.probe == "kernel":
            problem(cell)


def test_quick_runs_on_a_cpu_and_says_why_triton_does_not(quick: Plan) -> None:
    names = {"cpu", "reference", "transformers", "triton", "grid_sample_compiled"}
    assert asked(quick, "implementation") == names
    assert asked(quick, "direction") == {"forward", "both"} and asked(quick, "temperatures") == {("hot",)}
    assert {task.cell.queries for task in operator(quick)} == {21950, 300}
    assert all(skip_reason(task) is None for task in whole(quick))
    for task in operator(quick):
        reason = skip_reason(task)
        assert (reason is not None) == (task.cell.options["implementation"] == "triton"), task.title


def test_the_gpu_profile_begins_with_what_matters_most(gpu: Plan) -> None:
    absent = gpu.tasks[: len(kernels.PACKAGES)]
    assert [task.cell.options["implementation"] for task in absent] == list(kernels.PACKAGES)
    first = gpu.tasks[len(absent)].cell
    assert first.options["implementation"] == "triton" and first == Cell.from_json(first.to_json())
    headline = [task.cell for task in gpu.tasks[len(absent) : len(absent) + 10]]
    assert {(cell.dataset, cell.batch, cell.dtype, cell.queries) for cell in headline} == {
        ("coco", 1, "float32", 21950)
    }
    assert {cell.options["implementation"] for cell in headline} == {"triton", "reference", "transformers"}
    assert {cell.options["direction"] for cell in headline} == {"forward", "both"}


def test_the_gpu_profile_has_every_axis(gpu: Plan) -> None:
    cells = [task.cell for task in operator(gpu)]
    for name in ("coco", "cityscapes"):
        assert {cell.batch for cell in cells if cell.dataset == name} == {1, 2, 16}
    assert {cell.dtype for cell in cells} == {"float32", "bfloat16", "float16"}
    assert {cell.queries for cell in cells} == {21950, 43008, 300, 100}
    assert asked(gpu, "locations") == {"realistic", "initial", "uniform"}
    assert asked(gpu, "direction") == {"forward", "backward", "both"}
    assert asked(gpu, "op") == {"plain", "fused"}
    assert asked(gpu, "implementation") == registry.peers().keys() - {"cpu"}
    for cell in cells:
        graph = "graph" in cell.options["temperatures"]
        assert graph == (cell.options["direction"] != "backward" and cell.batch < 16)
        assert cell.options["temperatures"][0] == "hot"


def test_a_peer_that_is_installed_is_compared_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = len(SUITE.plan(Options(profile="gpu")).tasks)
    monkeypatch.setattr(kernels, "_there", lambda module: module == "DCNv4")
    monkeypatch.setattr(kernels, "offered", lambda: ["theirs"])
    plan = SUITE.plan(Options(profile="gpu"))
    ops = Counter(
        (task.cell.options["implementation"], task.cell.options["op"])
        for task in operator(plan)
        if task.cell.options["implementation"] in ("dcnv4", "theirs", "triton")
    )
    assert ops["dcnv4", "fused"] == ops["theirs", "fused"] == ops["theirs", "plain"] == ops["triton", "plain"] > 20
    assert ops["dcnv4", "plain"] == 0 and len(plan.tasks) > before


def test_the_full_profile_crosses_all_axes(gpu: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SUITE.plan(Options(profile="full"))
    assert [task.title for task in full.tasks[: len(gpu.tasks)]] == [task.title for task in gpu.tasks]
    ours = [t for t in operator(full) if t.cell.options["implementation"] == "triton"]
    crossed = 2 * 3 * 3 * 3 * 3
    assert len(kernels.every_call()) == crossed
    assert len([t for t in ours if t.cell.options["direction"] == "forward"]) == 2 * crossed, "of both operators"


def test_the_whole_encoder_is_timed_in_every_form(quick: Plan, gpu: Plan) -> None:
    """Theirs as it is, and ours by precision, mode, order in memory and size."""
    assert {*encoder.IMPLEMENTATIONS} == {kernels_encoder.OURS, kernels_encoder.THEIRS}
    forms = {name: [task.cell for task in whole(plan)] for name, plan in (("quick", quick), ("gpu", gpu))}
    for cells in forms.values():
        theirs = [cell for cell in cells if cell.options["implementation"] == "transformers"]
        assert {cell.conditions for cell in theirs} == {"float32"} and None in {c.options["op"] for c in theirs}
        assert {cell.batch for cell in cells} == {1} and {cell.system for cell in cells} == {"mask2former"}
    ours = {cell.conditions for cell in forms["gpu"] if cell.options["implementation"] == "effbench"}
    for precision in ("tf32", "bfloat16"):
        known = ("", ", graph", ", channels last, fixed size", ", channels last, fixed size, graph")
        assert {f"{precision}{form}" for form in (*known, ", compile, graph")} <= ours
    assert {"float32", "float16"} <= ours
    assert {cell.size for cell in forms["gpu"]} == {"800x1344", "1024x2048"}
    titles = [task.title for task in gpu.tasks]
    compiled = [i for i, task in enumerate(gpu.tasks) if "compile" in task.cell.options.get("mode", "")]
    first = titles.index("whole encoder, transformers: coco, float32")
    assert first < 40 < min(compiled), "what compiles comes after what does not"


def test_some_implementations_alone() -> None:
    plan = SUITE.plan(Options(systems=("cpu", "transformers")))
    assert asked(plan, "implementation") == {"cpu", "transformers"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(profile="huge"), "profile 'huge' of suite kernels; expected one of quick, gpu, full"),
        (Options(device="cuda"), "profile quick runs on the CPU, not on cuda; expected --profile gpu"),
        (Options(profile="gpu", device="cpu"), "runs on a CUDA device, not on cpu; expected quick"),
        (
            Options(systems=("fpn",)),
            "system 'fpn' is not in suite kernels; expected some of effbench, cpu, reference",
        ),
        (Options(limit=3), "takes neither --data-root nor --limit"),
    ],
)
def test_what_it_cannot_serve_is_refused(options: Options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SUITE.plan(options)


def test_without_a_gpu_the_gpu_profile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="device cuda, and this machine has no CUDA device"):
        SUITE.plan(Options(profile="gpu"))


# --- the script for a GPU, on the CPU --------------------------------------------------------------------------------

PLANTED = """
import torch

def right(value, shapes, locations, weights):
    from effbench.peers.own import exact
    return exact(value, shapes, locations, weights).to(value.dtype)

def wrong(*arguments):
    return right(*arguments) + 1e-2

def broken(*arguments):
    raise RuntimeError("no kernel image is available")
"""


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers a right, a wrong and a broken kernel, here and in the processes that are started."""
    (tmp_path / "planted.py").write_text(PLANTED)
    info = tmp_path / "planted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    points = "\n".join(f"{name} = planted:{name}" for name in ("right", "wrong", "broken"))
    (info / "entry_points.txt").write_text(f"[effbench.kernel_peers]\n{points}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Task]]:
    """The tasks of quick at the size of a thumbnail, of some implementations."""
    monkeypatch.setattr(kernels, "SIZES", {"coco": ("64x96", 126, 133)})

    def make(*names: str) -> list[Task]:
        tasks = SUITE.plan(Options(systems=names)).tasks
        return [task for task in tasks if task.cell.queries == 126 and task.cell.options.get("op") == "plain"]

    return make


def test_many_cells_of_one_process_are_records_of_their_own(
    small: Callable[..., list[Task]], plant: None, tmp_path: Path
) -> None:
    """A wrong kernel is invalid and untimed, one that raises is failed, one that is not here is skipped."""
    tasks = [t for t in small("right", "wrong", "broken", "triton") if t.cell.options["direction"] == "forward"]
    folder = tmp_path / "results"
    assert kernels_gpu.measure(tasks, folder, 60.0) == 0
    records = {r.cell["options"]["implementation"]: r for r in RecordBook(folder / "records.jsonl").records}
    assert {name: record.status for name, record in records.items()} == {
        "right": "ok",
        "wrong": "invalid",
        "broken": "failed",
        "triton": "skipped",
    }
    assert len(records["right"].samples) == 11 and records["wrong"].samples == []
    assert str(records["wrong"].reason).startswith("wrong, and not timed; largest")
    assert records["broken"].reason == "RuntimeError: no kernel image is available"
    assert "Triton needs a CUDA device" in str(records["triton"].reason)
    assert records["right"].detail["version"] == "1.0"
    assert sorted(records[name].detail["cells_before"] for name in ("right", "wrong")) in ([0, 1], [0, 2], [1, 2])
    assert kernels_gpu.measure(tasks, folder, 60.0) == 0
    assert len(RecordBook(folder / "records.jsonl").records) == 4, "nothing is measured twice"


def test_encoders_share_a_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers, a peer to compare with, is not installed")
    monkeypatch.setattr(kernels_encoder, "SIZES", {"coco": ("64x96", 133)})
    tasks = list(kernels_encoder.on_cpu())
    assert kernels_gpu.measure(tasks, tmp_path, 60.0) == 0
    records = RecordBook(tmp_path / "records.jsonl").records
    assert [record.status for record in records] == len(tasks) * ["ok"], [record.reason for record in records]
    ran = {(r.implementation["encoder"], r.implementation["ms_deform_attn"], r.cell["dtype"]) for r in records}
    assert ran == {
        ("transformers", "transformers", "float32"),
        ("transformers", "cpu", "float32"),
        ("effbench", "cpu", "float32"),
        ("effbench", "cpu", "bfloat16"),
    }
    assert all(len(record.samples) == kernels_encoder.CPU_SAMPLES for record in records)


def test_no_process_begins_when_the_time_is_over(
    small: Callable[..., list[Task]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels_gpu, "SHARING", 1)
    assert kernels_gpu.measure(small("cpu"), tmp_path, -1.0) == 2
    assert RecordBook(tmp_path / "records.jsonl").records == []


def test_without_time_it_says_what_is_left_and_writes_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels_gpu.main(["--profile", "quick", "--minutes", "-1", "--results", str(tmp_path)])
    number = len(SUITE.plan(Options()).tasks)
    assert f"{number} of {number} cells are left; the same command goes on with them" in capsys.readouterr().out
    assert not list(tmp_path.rglob("README.md"))


def test_at_the_end_the_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def measured(tasks: Sequence[Task], folder: Path, seconds: float) -> int:
        assert seconds == 90
        folder.mkdir(parents=True)
        (folder / "records.jsonl").touch()
        return 0

    monkeypatch.setattr(kernels_gpu, "measure", measured)
    monkeypatch.setattr(kernels_gpu.subprocess, "run", lambda command, check: commands.append(command))
    kernels_gpu.main(["--profile", "quick", "--minutes", "1.5", "--results", str(tmp_path)])
    (command,) = commands
    report = ["report", "kernels", "--profile", "quick", "--results", str(tmp_path)]
    assert command[1:] == ["-m", "effbench.cli", *report]

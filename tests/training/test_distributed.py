"""Training in two processes: the same weights in both, files from the first, and losses that are averaged rightly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from effbench.data.loader import StepBatches
from effbench.data.memory import InMemory
from effbench.errors import InputError
from effbench.training import distributed
from effbench.training.distributed import World, mean_over_processes, process_group, world

TRAIN = """
import sys
from pathlib import Path
import torch
from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.memory import InMemory
from effbench.models.segmenter import build_segmenter
from effbench.training.criterion import CriterionSettings
from effbench.training.distributed import mean_over_processes, process_group
from effbench.training.trainer import Recipe, Trainer

torch.set_num_threads(1)
root, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
with process_group("cpu") as place:
    torch.manual_seed(place.rank)  # what they start from differs, until the first gives the others its weights
    decoder = {"dim": 32, "heads": 2, "ffn_dim": 64, "layers": 1}
    narrow = {"num_queries": 6, "dim": 32, "mask_dim": 32, "decoder_settings": decoder}
    early = {"heads": 4, "ffn_dim": 64, "layers": 3, "exits": (1, 2)} if sys.argv[4] == "early_exit" else {}
    model = build_segmenter(sys.argv[4], "resnet_mini", num_classes=15, **narrow, **early)
    dense = CriterionSettings(sampling="dense")
    plain = {"steps": 4, "batch_size": 2, "crop": 64, "warm_up": 2, "checkpoint_every": 0.0, "criterion": dense}
    recipe = Recipe(**plain, exit_loss="weighted" if early else "last")
    reports = []
    def on_step(report):
        reports.append(report.step)
        if report.step == steps:
            raise SystemExit(3)
    trainer = Trainer(model, InMemory(CocoPanoptic(root, "train2017")), 15, recipe, out / "training.pt", on_step)
    trainer.run()
    torch.save(model.state_dict(), out / f"weights-{place.rank}.pt")
    mean = mean_over_processes(2 + 4 * place.rank, torch.device("cpu"))
    (out / f"said-{place.rank}").write_text(f"{reports} {trainer.resumed_at} {mean}")
"""


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    script = Path(str(arguments[1])) / "train.py"
    script.write_text(TRAIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*command, str(script), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        out, err = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.terminate()  # so that it ends the processes that it started, too
        process.communicate(timeout=60)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_two_processes_end_with_the_same_weights_and_go_on_after_a_kill(tiny_root: Path, tmp_path: Path) -> None:
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    done = torchrun(tiny_root, tmp_path / "whole", 99, "fpn")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "whole/said-0").read_text() == "[1, 2, 3, 4] None 4.0"
    assert (tmp_path / "whole/said-1").read_text() == "[] None 4.0", "the first process alone reports"

    stopped = torchrun(tiny_root, tmp_path / "stopped", 3, "fpn")
    assert stopped.returncode != 0
    again = torchrun(tiny_root, tmp_path / "stopped", 99, "fpn")
    assert again.returncode == 0, again.stderr[-2000:]
    assert (tmp_path / "stopped/said-0").read_text() == "[3, 4] 2 4.0"

    weights = [torch.load(path) for path in sorted(tmp_path.glob("*/weights-*.pt"))]
    assert len(weights) == 4
    for other in weights[1:]:
        for name, value in weights[0].items():
            same = torch.equal(value, other[name])
            assert same or "running" in name, name  # each process has its own means over its share of a batch


def test_a_model_with_parameters_that_get_no_gradient_is_trained(tiny_root: Path, tmp_path: Path) -> None:
    """An early exit's gate, and layers above its deepest exit: the group must not wait for theirs."""
    done = torchrun(tiny_root, tmp_path, 99, "early_exit")
    assert done.returncode == 0, done.stderr[-2000:]
    weights = [torch.load(path) for path in sorted(tmp_path.glob("weights-*.pt"))]
    assert all(torch.equal(x, weights[1][name]) for name, x in weights[0].items() if "running" not in name)


def test_the_shares_of_a_batch_are_the_batch(tiny_data: InMemory) -> None:
    class Named(InMemory):
        """Which images are asked for."""

        def __init__(self) -> None:
            self.samples, self.asked = tiny_data.samples, []

        def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
            self.asked.append(index)
            return super().__getitem__(index)

    whole = Named()
    StepBatches(whole, 4, 64, "crop", seed=3)[5]
    shares = []
    for rank in range(2):
        share = Named()
        StepBatches(share, 4, 64, "crop", 3, range(rank, 4, 2))[5]
        shares.append(share.asked)
    assert [shares[i % 2][i // 2] for i in range(4)] == whole.asked


def test_alone_nothing_changes() -> None:
    with process_group("cpu") as place:
        assert place == world() == World(rank=0, size=1, local=0) and place.first
        assert mean_over_processes(7, torch.device("cpu")) == 7.0
    distributed.wait_for_all()


def test_a_process_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError, match="process 1 has no CUDA device, this machine has 1"), process_group("cuda"):
        pass

"""Plans of the suites, and made-up records that answer their tasks with numbers that can be recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from effbench.study.interleave import replica
from effbench.study.record import Record
from effbench.study.suite import Options, Plan, Suite, Task, find_suite
from effbench.suites.systems import COUNTED

GIGA = 1e9
NUMBERS = {system.label: number for number, system in enumerate(COUNTED, start=1)}
"""What makes each system's numbers its own: its place in the suites' order."""


def macs(task: Task, number: int) -> dict[str, Any]:
    """Encoders of 100, 200, 300, ... GMACs; on all of COCO 10 more, on Swin-T 1; a thousandth of it where narrow."""
    encoder = 100 * number + (10 if task.cell.size == "coco" else 0) + (1 if task.cell.backbone == "swin_t" else 0)
    parts = {"backbone": 50, "encoder": encoder, "decoder": 25, "post_processing": 4, "other": 1}
    scale = GIGA / 1000 if task.cell.width else GIGA
    papers = {name: scale * part for name, part in parts.items()}
    papers["total"] = sum(papers.values())
    complete = {**papers, "total": papers["total"] + 7 * scale}
    return {"detail": {"papers": papers, "complete": complete, "left_out": {"ms_deform_attn": 7 * scale}}}


def latency(task: Task, number: int) -> dict[str, Any]:
    """Medians of 100, 200, 300, ... ms; a tenth of it where narrow. One sample lies far out.

    The second process of a cell takes a tenth more, the third two tenths.
    """
    process, _ = replica(task.cell)
    median = number * (0.01 if task.cell.width else 0.1) * (1 + 0.1 * process)
    detail = {"warm_up": [1.0, 0.5], "sizes": ["512x512"], "threads": 2, "clock": "host", "inside": "encoder forward"}
    detail["canary"] = {"moved": 0.04}
    samples = [median] * (max(15, task.cell.options["samples"]) - 1) + [9.0]
    detail |= {"warm_up_flat": True, "host": samples, "device": None, "graph": None, "launch_bound": None}
    return {"samples": samples, "unit": "s", "detail": {**detail, "throttled": None}}


def score(pq: float, rq: float = 60.0, categories: int = 5) -> dict[str, float]:
    return {"pq": pq, "sq": 80.0, "rq": rq, "categories": categories}


def quality(task: Task, number: int) -> dict[str, Any]:
    """PQ of 41, 42, 43, ...; things 10 less, stuff 10 more. One of the two images is 8 better, the other 8 worse.

    A half more for every further seed.

    Smaller segments are worse, and no image has a large one. On the first harder part 10 less than on the whole, on
    the next ones 11 and 12 less, and over what the parts are about another 5 less.
    """
    pq = 40.0 + number + 0.5 * replica(task.cell)[1]
    images = {
        name: {"0": [(pq - 10 + more) / 100, 1, 0, 0], "9": [(pq + 10 + more) / 100, 1, 0, 0]}
        for name, more in (("1", 8), ("2", -8))
    }
    harder = enumerate(list(task.cell.options.get("parts", {}))[1:])
    detail = {
        "all": score(pq),
        "things": score(pq - 10),
        "stuff": score(pq + 10),
        "by_size": {"small": score(pq - 20, rq=30.0), "medium": score(pq - 3), "large": score(0.0, 0.0, 0)},
        "miou": {"miou": 60.0 + number, "classes": 15},
        "ap": {"ap": 20.0 + number, "ap50": 50.0, "categories": 8},
        "parts": {part: {"all": score(pq - 10 - i), "focus": score(pq - 15 - i, rq=70.0)} for i, part in harder},
        "per_image": images,
        "recipe": {"seed": 0, **task.cell.options["recipe"]},
        "seconds": {"training": 61.0, "evaluation": 7.0},
        "resumed_at_step": None,
    }
    return {"samples": [pq], "unit": "%", "detail": detail}


def components(task: Task, number: int) -> dict[str, Any]:
    """Passes of 1, 2, 3, ... s, of which the encoder takes half."""
    shares = {"preparation": 0.01, "backbone": 0.25, "encoder": 0.5, "decoder": 0.2, "post_processing": 0.03}
    mean = {name: share * number for name, share in shares.items()}
    placed = {"bound": "compute", "mac_per_s": 3e10, "byte_per_s": 2e9, "mac_share": 0.4, "byte_share": 0.1}
    detail = {
        "mean_s": {**mean, "whole": float(number)},
        "residual": 0.01,
        "sum_over_whole": 1.02,
        "boundaries_cost": 0.005,
        "roofline": {
            "ceilings": {"mac_per_s": 7.5e10, "byte_per_s": 2e10, "operator": "product"},
            **dict.fromkeys(("backbone", "encoder", "decoder"), placed),
        },
    }
    return {"samples": [float(number)] * 11, "unit": "s", "detail": detail}


def memory(task: Task, number: int) -> dict[str, Any]:
    """Encoders of 100, 200, 300, ... MB, and 50 MB more in the decoder."""
    peaks = {name: {"own": 1e8 * number, "whole": 1e8 * number} for name in ("backbone", "encoder")}
    peaks["decoder"] = {"own": 5e7, "whole": 1e8 * number + 5e7}
    weights = {"backbone": 9e7, "encoder": 2e7, "decoder": 5e7}
    detail = {"components": peaks, "whole": 1e8 * number + 5e7, "weights": weights, "counts": "an allocator"}
    return {"samples": [1e8 * number], "unit": "B", "detail": detail}


def parameters(task: Task, number: int) -> dict[str, Any]:
    """Encoders of 1.25, 2.25, 3.25, ... million parameters."""
    encoder = 1e6 * number + 250_000
    return {"samples": [encoder], "unit": "parameters", "detail": {"encoder": encoder}}


def warm_start(task: Task, number: int) -> dict[str, Any]:
    detail = {"cached": False, "training_seconds": 123.0, "data": "base-128px-0123", "file": "warm-start-0123.pt"}
    return {"samples": [130.0], "unit": "s", "detail": detail}


def ground_truth(task: Task, number: int) -> dict[str, Any]:
    return {"samples": [100.0], "unit": "%", "detail": {"per_image": {"1": {}, "2": {}, "3": {}}}}


def precision(task: Task, number: int) -> dict[str, Any]:
    """Errors of one thousandth in every map, ten times that for the largest."""
    outputs = {name: {"rms": 1e-3, "largest": 1e-2} for name in ("mask_features", "res5", "res4", "res3")}
    return {"samples": [1e-3], "unit": "ratio", "detail": {"outputs": outputs}}


ANSWERS: dict[str, Callable[[Task, int], dict[str, Any]]] = {
    "macs": macs,
    "latency": latency,
    "quality": quality,
    "components": components,
    "memory": memory,
    "precision": precision,
    "parameters": parameters,
    "warm_start": warm_start,
    "ground_truth": ground_truth,
}


@pytest.fixture(scope="session")
def answer() -> Callable[..., Record]:
    """The made-up record of a task, with what a test changes about it."""

    def make(task: Task, **changes: Any) -> Record:
        fields: dict[str, Any] = {
            "cell": task.cell.to_json(),
            "cell_id": task.cell.id,
            "probe": task.probe,
            "probe_version": "1",
            "unit": "MAC",
            "samples": [1.0],
            "status": "ok",
            "source": "0" * 16,
            "environment": {"python": "3.11.2", "cpu": "Some CPU", "gpu": None},
            "host": "a" * 12,
            "started_at": "2026-01-02T03:04:05+00:00",
            "seconds": 2.0,
            "commit": "c0ffee",
            "dirty": True,
        }
        if task.skip is not None:
            fields |= {"status": "skipped", "reason": task.skip, "samples": []}
        else:
            fields |= ANSWERS[task.probe](task, NUMBERS[task.cell.system])
        return Record(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def suite() -> Suite:
    return find_suite("coco")


@pytest.fixture(scope="session")
def quick(suite: Suite) -> Plan:
    return suite.plan(Options())


@pytest.fixture(scope="session")
def full(suite: Suite) -> Plan:
    """Its energy is skipped, as where there is no meter."""
    plan = suite.plan(Options(profile="full", device="cpu"))
    tasks = [replace(t, skip="no energy meter: none") if t.probe == "energy" else t for t in plan.tasks]
    return replace(plan, tasks=tasks)


@pytest.fixture(scope="session")
def smoke(suite: Suite, photos: Path) -> Plan:
    return suite.plan(Options(data_root=photos))


@pytest.fixture(scope="session")
def cityscapes() -> Suite:
    return find_suite("cityscapes")


@pytest.fixture(scope="session")
def costs(cityscapes: Suite) -> Plan:
    return cityscapes.plan(Options())


@pytest.fixture(scope="session")
def eco() -> Plan:
    return find_suite("eco").plan(Options())


@pytest.fixture(scope="session")
def exit_answer() -> Callable[..., Record]:
    """A record that answers a task with a detail, and with samples where they matter."""

    def make(task: Task, detail: dict[str, Any], samples: Sequence[float] = (1.5,)) -> Record:
        return Record(
            cell=task.cell.to_json(),
            cell_id=task.cell.id,
            probe=task.probe,
            probe_version="1",
            unit="",
            samples=list(samples),
            status="ok",
            source="0" * 16,
            environment={},
            host="a" * 12,
            started_at="2026-01-02T03:04:05+00:00",
            seconds=2.0,
            detail=detail,
        )

    return make


@pytest.fixture(scope="session")
def gate_detail() -> Callable[..., dict[str, Any]]:
    """What the gate probe says, of gates that differ in nothing but what is asked for."""

    def estimate(value: float, spread: float = 1.0) -> dict[str, float]:
        return {"value": value, "low": value - spread, "high": value + spread}

    def make(
        recipe: Mapping[str, Any], over_random: float = 0.5, share: float | None = 0.2, exits: Sequence[int] = (2, 4)
    ) -> dict[str, Any]:
        one, *_, other = map(str, exits)
        images = {"mean": 3.4, "images": {one: 100, other: 200}}
        value = {
            "mean_exit": 3.4,
            "gate": estimate(52.0),
            "random": estimate(51.5),
            "oracle": estimate(54.0),
            "fixed": {str(k): estimate(50.0 + k / 10) for k in (2, 3, 4)},
            "over_random": estimate(over_random),
            "over_fixed": {"2": estimate(3.0), "3": estimate(2.0), "4": estimate(-1.5)},
            "over_mix": estimate(0.5),
            "gain": estimate(2.5),
            "oracle_exits": {one: 150, other: 150},
            "share": None if share is None else estimate(share, 0.1),
        }
        return {
            "choices": {"1": str(recipe), "2": over_random},
            "recipe": {"k": 0, "loss": "hard_ce", **recipe},
            "target": {"train": {"mean": 3.1, "images": {}}},
            "chosen": {"train": images, "val": images},
            "quality": {group: {"pq": pq} for group, pq in (("all", 52.0), ("things", 30.0), ("stuff", 90.0))},
            "value": {"dataset": value, "image": value},
        }

    return make

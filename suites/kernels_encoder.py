"""Tasks of suite kernels on the whole encoder: what is around the operator costs time, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from effbench.study.cell import Cell
from effbench.study.suite import Task

SIZES: Mapping[str, tuple[str, int]] = {"coco": ("800x1344", 133), "cityscapes": ("1024x2048", 19)}
"""name -> image as it is padded, classes."""
BACKBONE, QUERIES = "r50", 100
OURS, THEIRS = "effbench", "transformers"
CPU_SAMPLES, GPU_SAMPLES = 11, 33

FORM: Mapping[str, Any] = {"channels_last": True, "fixed_size": True}
ON_CPU: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("float32", {}),
    ("float32", {"channels_last": True}),
    ("float32", {"fixed_size": True}),
    ("bfloat16", {}),
)
ON_GPU: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("float32", {}),
    *(
        (dtype, {**tf32, **how})
        for dtype, tf32 in (("float32", {"tf32": True}), ("bfloat16", {}))
        for how in ({}, {"mode": "graph"}, {**FORM}, {**FORM, "mode": "graph"})
    ),
    ("float16", {}),
)
COMPILED: Sequence[tuple[str, Mapping[str, Any]]] = tuple(
    (dtype, {**tf32, **form, "mode": "compile, graph"})
    for dtype, tf32 in (("float32", {"tf32": True}), ("bfloat16", {}))
    for form in ({}, FORM)
)
"""(dtype, options) of ours: in which form it is timed."""


def on_cpu() -> Iterator[Task]:
    """Theirs with its own operator and with ours, and ours."""
    for op in (None, "cpu"):
        yield _task("coco", "cpu", "float32", {"implementation": THEIRS, "op": op})
    for dtype, how in ON_CPU:
        yield _task("coco", "cpu", dtype, {"implementation": OURS, **how})


def on_gpu(device: str, image: str, ops: Sequence[str]) -> Iterator[Task]:
    """Theirs with every operator of `ops` besides its own, and ours in every form that needs no compilation."""
    for op in (None, *ops):
        yield _task(image, device, "float32", {"implementation": THEIRS, "op": op})
    for dtype, how in ON_GPU:
        yield _task(image, device, dtype, {"implementation": OURS, **how})


def compiled(device: str, image: str) -> Iterator[Task]:
    """Ours by torch.compile, which takes its time to compile."""
    for dtype, how in COMPILED:
        yield _task(image, device, dtype, {"implementation": OURS, **how})


def _task(image: str, device: str, dtype: str, how: Mapping[str, Any]) -> Task:
    size, classes = SIZES[image]
    options = {"samples": CPU_SAMPLES if device == "cpu" else GPU_SAMPLES, **how}
    cell = Cell("mask2former", BACKBONE, image, size, classes, QUERIES, device=device, dtype=dtype, options=options)
    whose = how["implementation"] + (f" with {how['op']}" if how.get("op") else "")
    title = f"whole encoder, {whose}: {image}, {cell.conditions}"
    return Task(cell, "encoder", title, alone=True, counts=device == "cuda")

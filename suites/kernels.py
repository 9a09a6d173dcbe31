"""The operator alone: our kernels and everybody else's on the same inputs, right first, then timed.

The operator is multi-scale deformable attention as Mask2Former's pixel decoder calls it (8 heads of 32 channels, 4
points on 3 levels), at an image of COCO (800x1333, the usual test size) and at one of Cityscapes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from effbench.errors import InputError
from effbench.study.cell import Cell
from effbench.study.device import checked_device
from effbench.study.suite import Options, Plan, Suite, Task
from effbench.suites import kernels_encoder

CALLER = "mask2former"
SIZES: Mapping[str, tuple[str, int, int]] = {
    "coco": ("800x1333", 21950, 133),
    "cityscapes": ("1024x2048", 43008, 19),
}
"""name -> image, tokens of its levels (which a test holds against the probe), classes."""
DECODER_QUERIES = (300, 100)
REALISTIC, LOCATIONS = "realistic", ("realistic", "initial", "uniform")

OURS_ON_CPU = ("cpu", "reference")
KERNEL = "triton"
PYTORCH = ("reference", "transformers")
COMPILED = "grid_sample_compiled"
PACKAGES: Mapping[str, str] = {
    "dcnv4": "DCNv4",
    "roulbac": "msda_triton",
    "rziga": "msda_triton",
    "cuda_op": "MultiScaleDeformableAttention",
    "mmcv": "mmcv",
    "hub": "kernels",
}
"""Peers that a user may have -> the module by which they are there."""
TAKES_LOGITS = ("dcnv4",)
"""Of these the fused operator alone."""
ENTRY_POINTS = "effbench.kernel_peers"

CPU_SAMPLES, GPU_SAMPLES = 11, 33
LARGE = 16
"""Images, of a batch at which everything takes long."""
CHECKED = {"cpu": 2048, "cuda": 8192}

NOTES = (
    "Whatever is timed was right first: its output, and in a backward its gradients, against the reference in float64 "
    "on the same rounded inputs.",
    "`fused` starts from offsets and logits, as a layer has them; around an implementation that is not fused, PyTorch "
    "computes locations and softmax (`chain`).",
)
CPU_NOTE = (
    "Each row is one process: how much processes differ it cannot show. On a CPU nothing is flushed between runs."
)
GPU_NOTE = (
    "Implementations of one row's inputs follow each other in one process. Times are the device's: `hot` repeats a "
    "call, `cold` writes 256 MiB in between, `graph` replays ten calls in one CUDA graph."
)


@dataclass(frozen=True)
class Call:
    """One call of the operator that implementations are compared on."""

    shape: str = "coco"
    batch: int = 1
    dtype: str = "float32"
    queries: int | None = None
    locations: str = REALISTIC

    def cell(self, device: str) -> Cell:
        """As a cell without options of an implementation; without `queries` every token asks."""
        size, tokens, classes = SIZES[self.shape]
        return Cell(
            CALLER,
            "none",
            dataset=self.shape,
            size=size,
            classes=classes,
            queries=self.queries or tokens,
            device=device,
            dtype=self.dtype,
            batch=self.batch,
            options={"locations": self.locations},
        )

    @property
    def title(self) -> str:
        """For the progress line."""
        queries = f", {self.queries} queries" if self.queries else ""
        return f"{self.shape}, batch {self.batch}, {self.dtype}{queries}, {self.locations}"


def plan(options: Options) -> Plan:
    """The tasks of a profile: `quick` on a CPU, `gpu` in minutes on a GPU, `full` with all axes crossed there."""
    if options.data_root is not None or options.limit is not None:
        raise InputError("suite kernels takes neither --data-root nor --limit: its inputs are random")
    profile = options.profile or "quick"
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r} of suite kernels; expected one of {', '.join(PROFILES)}")
    if profile == "quick" and options.device not in (None, "cpu"):
        raise InputError(f"profile quick runs on the CPU, not on {options.device}; expected --profile gpu")
    known = (kernels_encoder.OURS, *OURS_ON_CPU, KERNEL, "transformers", COMPILED, *PACKAGES, *offered())
    for name in options.systems:
        if name not in known:
            raise InputError(f"system {name!r} is not in suite kernels; expected some of {', '.join(known)}")
    made = PROFILES[profile](options)
    chosen = [t for t in made.tasks if not options.systems or t.cell.options["implementation"] in options.systems]
    return replace(made, tasks=list({(task.cell.id, task.probe): task for task in chosen}.values()))


def offered() -> list[str]:
    """Peers that other packages offer."""
    return sorted(point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS))


def _quick(options: Options) -> Plan:
    plain, fused = (*OURS_ON_CPU, "transformers", KERNEL, *offered()), ("cpu", "transformers")
    tasks = [
        task
        for call in (Call(queries=DECODER_QUERIES[0]), Call())
        for direction in ("forward", "both")
        for task in (*_tasks(call, "cpu", plain, "plain", direction), *_tasks(call, "cpu", fused, "fused", direction))
    ]
    # an encoder's queries take it seconds a call, and its derivative as long again to compile
    tasks += _tasks(Call(queries=DECODER_QUERIES[0]), "cpu", (COMPILED,), "plain", "forward")
    tasks += kernels_encoder.on_cpu()
    return Plan("quick", tasks, (*NOTES, CPU_NOTE), CALLER, (), "")


def _gpu(options: Options) -> Plan:
    return _on_gpu("gpu", _important, options)


def _full(options: Options) -> Plan:
    def crossed(device: str) -> Iterator[Task]:
        yield from _important(device)
        for call in every_call():
            for direction in ("forward", "both"):
                yield from _compare(call, device, direction)

    return _on_gpu("full", crossed, options)


def _on_gpu(profile: str, tasks: Callable[[str], Iterator[Task]], options: Options) -> Plan:
    device = options.device or "cuda"
    if device != "cuda":
        raise InputError(f"profile {profile} of suite kernels runs on a CUDA device, not on {device}; expected quick")
    return Plan(profile, list(tasks(checked_device(device))), (*NOTES, GPU_NOTE), CALLER, (), "", device=device)


def every_call() -> list[Call]:
    """All axes crossed."""
    return [
        Call(shape, batch, dtype, queries, where)
        for batch in (1, 2, LARGE)
        for shape in SIZES
        for queries in (None, *DECODER_QUERIES)
        for dtype in ("float32", "bfloat16", "float16")
        for where in LOCATIONS
    ]


def _important(device: str) -> Iterator[Task]:
    """What matters most first: a run may be stopped at any time.

    One axis at a time around a call of COCO: type of number, image, decoder, batch, locations.
    """
    for name, module in PACKAGES.items():  # one task each says what this machine lacks
        if not _there(module):
            op = "fused" if name in TAKES_LOGITS else "plain"
            yield from _tasks(Call(), device, (name,), op, "forward")
    for dtype in ("float32", "bfloat16", "float16"):
        for direction in ("forward", "both"):
            yield from _compare(Call(dtype=dtype), device, direction)
    yield from kernels_encoder.on_gpu(device, "coco", _operators())
    yield from _compare(Call(), device, "backward")
    yield from _tasks(Call(), device, (COMPILED,), "plain", "forward")
    yield from _tasks(Call(), device, (COMPILED,), "plain", "both")
    for call in (
        *(Call("cityscapes", dtype=dtype) for dtype in ("float32", "bfloat16")),
        *(Call(queries=queries, dtype=dtype) for queries in DECODER_QUERIES for dtype in ("float32", "bfloat16")),
    ):
        for direction in ("forward", "both"):
            yield from _compare(call, device, direction)
    yield from kernels_encoder.on_gpu(device, "cityscapes", _operators())
    for image in kernels_encoder.SIZES:
        yield from kernels_encoder.compiled(device, image)
    for where in LOCATIONS[1:]:
        for dtype in ("float32", "bfloat16"):
            yield from _compare(Call(locations=where, dtype=dtype), device, "forward")
    for batch in (2, LARGE):
        for shape in SIZES:
            for dtype in ("float32", "bfloat16"):
                for direction in ("forward", "both"):
                    yield from _compare(Call(shape, batch, dtype), device, direction)


def _operators() -> list[str]:
    """What can take the place of the operator in another's encoder: ours, and what is there."""
    installed = [name for name, module in PACKAGES.items() if _there(module) and name not in TAKES_LOGITS]
    return [KERNEL, *installed, *offered()]


def _compare(call: Call, device: str, direction: str) -> Iterator[Task]:
    """All that are there on one call: from locations and weights, then from offsets and logits."""
    # what rounds locations to 16 bits is wrong, which one call says for all
    pytorch = PYTORCH if call.dtype == "float32" or call == Call(dtype=call.dtype) else PYTORCH[:1]
    users = [*(name for name, module in PACKAGES.items() if _there(module)), *offered()]
    plain = [KERNEL, *(name for name in users if name not in TAKES_LOGITS), *pytorch]
    yield from _tasks(call, device, plain, "plain", direction)
    yield from _tasks(call, device, [KERNEL, *users, *pytorch[1:]], "fused", direction)


def _tasks(call: Call, device: str, names: Sequence[str], op: str, direction: str) -> Iterator[Task]:
    temperatures: tuple[str, ...] = ("hot", "cold", "graph")
    samples = GPU_SAMPLES
    if direction == "backward":
        temperatures = temperatures[:2]  # no graph of a derivative alone: it runs on the stream that its forward ran on
    if call.batch >= LARGE:
        temperatures, samples = temperatures[:1], CPU_SAMPLES  # nothing of it fits a cache, and no launch is waited for
    if device == "cpu":
        temperatures, samples = temperatures[:1], CPU_SAMPLES
    how: dict[str, Any] = {
        "op": op,
        "direction": direction,
        "temperatures": temperatures,
        "samples": samples,
        "checked": CHECKED[device],
    }
    cell = call.cell(device)
    for name in names:
        asked = replace(cell, options={**cell.options, **how, "implementation": name})
        yield Task(asked, "kernel", f"{name}, {op} {direction}: {call.title}", alone=True, counts=device == "cuda")


def _there(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


PROFILES: Mapping[str, Callable[[Options], Plan]] = {"quick": _quick, "gpu": _gpu, "full": _full}
SUITE = Suite(
    name="kernels",
    question="How fast is multi-scale deformable attention, whose is it, and what does the machine allow?",
    plan=plan,
)

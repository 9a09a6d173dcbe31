"""What the kernels become on sm_90, read from their machine code: no GPU is needed to compile for one.

An instruction too many per sample, a load that is no longer 16 bytes wide or an atomic that is no longer a vector
costs speed without a wrong number anywhere, so they are asserted here. The counts are those of one Triton version.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from effbench.kernels.ms_deform_attn import triton_impl, triton_launch

if not triton_impl.installed():
    pytest.skip("Triton is not installed", allow_module_level=True)
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1: kernels are interpreted, not compiled", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from effbench.kernels import row_rates
from effbench.kernels.ms_deform_attn.triton_backward import backward_kernel
from effbench.kernels.ms_deform_attn.triton_forward import forward_kernel

DISASSEMBLER = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
COUNTED_WITH = "3.7"
NAMES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

pytestmark = pytest.mark.skipif(not DISASSEMBLER.exists(), reason=f"this Triton ships no {DISASSEMBLER.name}")


@pytest.fixture(scope="module", autouse=True)
def own_triton_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A kernel compiled earlier is not what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


class Machine(NamedTuple):
    """A compiled kernel: how often each instruction stands in it, and what it needs per thread and query."""

    instructions: Counter[str]
    per_query: float  # warp instructions per query and head
    registers: int
    stack: int  # bytes

    def count(self, pattern: str) -> int:
        return sum(n for name, n in self.instructions.items() if re.fullmatch(pattern, name))


@functools.cache
def machine(name: str, dtype: str, fused: bool, D: int = 32, L: int = 3, P: int = 4, aligned: bool = True) -> Machine:
    """The kernel as a launch on tensors that start at multiples of 16 bytes (or not) would compile it."""
    kernel = {"forward": forward_kernel, "backward": backward_kernel}[name]
    S = 16 * L
    value = torch.empty(1, S, 8, D, dtype=NAMES[dtype], device="meta")
    points = torch.empty(1, S, 8, L, P, 2, device="meta")
    reference = torch.empty(1, S, 1, 2, device="meta") if fused else None
    launch = triton_launch.Launch(name, value, ((4, 4),) * L, points, reference)
    constants = launch.constants | ({"SCATTER": True} if name == "backward" else {})
    options = {name: constants.pop(name) for name in ("num_warps", "maxnreg")}
    pointers = dict.fromkeys(("grad", "value", "output"), f"*{dtype}")
    pointers |= dict.fromkeys(("points", "scores", "reference"), "*fp32")
    pointers |= dict.fromkeys(("grad_value", "grad_points", "grad_scores"), "*fp32")
    signature: dict[str, Any] = {n: "constexpr" if n in constants else pointers.get(n, "i32") for n in kernel.arg_names}
    hints = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(kernel.arg_names) if n in pointers and aligned}
    compiled = triton.compile(
        ASTSource(kernel, signature, constexprs=constants, attrs=hints),
        target=GPUTarget("cuda", 90, 32),
        options=options,
    )
    return disassembled(compiled.asm["cubin"], options["num_warps"] / (constants["TILE_H"] * constants["TILE_W"]))


def disassembled(cubin: bytes, warps_per_query: float) -> Machine:
    folder = Path(os.environ["TRITON_CACHE_DIR"])
    path = folder / "kernel.cubin"
    path.write_bytes(cubin)

    def dump(option: str) -> str:
        return subprocess.run([DISASSEMBLER, option, path], capture_output=True, text=True, check=True).stdout

    names = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", dump("-sass"), re.M)
    while names[-1] in ("BRA", "NOP"):  # behind the end
        names.pop()
    usage = dump("-res-usage")
    registers, stack = (int(re.findall(rf"{word}:(\d+)", usage)[0]) for word in ("REG", "STACK"))
    return Machine(Counter(names), len(names) * warps_per_query, registers, stack)


# (kernel, dtype of value, fused): most warp instructions per query and head, and most registers per thread
BUDGETS = {
    ("forward", "fp32", False): (175, 80),
    ("forward", "bf16", False): (192, 80),
    ("forward", "fp32", True): (191, 88),
    ("backward", "fp32", False): (440, 144),
    ("forward", "fp16", False): (192, 80),
    ("forward", "fp16", True): (208, 80),
    ("forward", "bf16", True): (208, 80),
    ("backward", "fp16", False): (423, 136),
    ("backward", "bf16", False): (424, 136),
    ("backward", "fp32", True): (461, 200),
    ("backward", "fp16", True): (442, 200),
    ("backward", "bf16", True): (443, 200),
}
QUICK = 4
BUILDS = [
    pytest.param(*build, id="-".join((build[0], build[1], "fused" if build[2] else "plain")), marks=marks)
    for i, build in enumerate(BUDGETS)
    for marks in [[pytest.mark.slow] if i >= QUICK else []]
]


@pytest.mark.parametrize(("name", "dtype", "fused"), BUILDS)
def test_nothing_spills_and_16_bytes_move_at_a_time(name: str, dtype: str, fused: bool) -> None:
    code = machine(name, dtype, fused)
    assert code.count(r"(LDL|STL)\b.*") == 0, "registers were spilt"
    # The four pixels of 12 samples: 8 (float32) or 4 (16 bits) lanes share a pixel of one of a warp's 8 queries.
    rows = 48 * (2 if dtype == "fp32" else 1)
    wide = code.count(r"LDG\.E\.128(\..*)?")
    assert wide >= rows
    narrow = code.count(r"LDG\.E(\.U16|\.64)?(\.CONSTANT)?")
    assert narrow <= 16 * 3, "what is left are the samples, each read once"
    if name == "backward":
        vectors, all_atomics = code.count(r"REDG\.E\.ADD\.F32x4\..*"), code.count(r"(RED|ATOM).*")
        assert vectors == all_atomics == 96, "4 pixels x 12 samples x 2 vectors per thread"


@pytest.mark.parametrize(("name", "dtype", "fused"), BUILDS)
@pytest.mark.skipif(not triton.__version__.startswith(COUNTED_WITH), reason=f"counted with Triton {COUNTED_WITH}")
def test_the_budget_of_instructions_and_registers(name: str, dtype: str, fused: bool) -> None:
    code = machine(name, dtype, fused)
    instructions, registers = BUDGETS[name, dtype, fused]
    assert code.per_query <= instructions
    assert code.registers <= registers


@pytest.mark.slow
@pytest.mark.parametrize("D", [8, 24, 64, 128])
@pytest.mark.parametrize("name", ["forward", "backward"])
def test_other_head_dims_compile_to_vectors_without_spilling(name: str, D: int) -> None:
    code = machine(name, "fp32", False, D)
    assert code.count(r"(LDL|STL)\b.*") == 0
    assert code.count(r"LDG\.E\.128.*") >= 48


@pytest.mark.slow
def test_a_misaligned_value_is_read_in_small_pieces() -> None:
    assert machine("forward", "fp32", False, aligned=False).count(r"LDG\.E\.128.*") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(("L", "P"), [(1, 1), (4, 3), (5, 8)])
def test_other_levels_and_points_compile(name: str, L: int, P: int) -> None:
    assert machine(name, "bf16", True, L=L, P=P).count(r"LDG\.E\.128.*") >= 4 * L * P


def test_a_new_image_size_compiles_nothing() -> None:
    """Sizes are integers that Triton must not turn into constants, and nothing else depends on them."""
    for kernel in (forward_kernel, backward_kernel):
        sizes = {p.name for p in kernel.params if not p.is_constexpr} - set(pointer_names(kernel))
        assert sizes == {p.name for p in kernel.params if p.do_not_specialize}

    def constants(*shapes: tuple[int, int]) -> dict[str, Any]:
        S = sum(h * w for h, w in shapes)
        value, points = torch.empty(2, S, 8, 32, device="meta"), torch.empty(2, S, 8, 2, 4, 2, device="meta")
        return triton_launch.Launch("forward", value, shapes, points, None).constants

    assert constants((25, 42), (50, 84)) == constants((1, 16), (3, 3))


def pointer_names(kernel: Any) -> list[str]:
    names = [p.name for p in kernel.params]
    return names[: names.index("Q")]


@pytest.mark.parametrize("name", ["gather", "add"])
def test_the_kernels_of_rows_alone_move_16_bytes_at_a_time(name: str) -> None:
    """Their rates are the ceilings of the others, so nothing narrower may stand in their way."""
    kernel = {"gather": row_rates.gather_kernel, "add": row_rates.add_kernel}[name]
    types = {"table": "*fp32", "rows": "*i32", "output": "*fp32", "n": "i32", "COUNT": "i32"}
    constants = {"D": 32, "BLOCK": row_rates.BLOCK}
    compiled = triton.compile(
        ASTSource(
            kernel,
            {n: types.get(n, "constexpr") for n in kernel.arg_names},
            constexprs=constants,
            attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(kernel.arg_names) if n in types},
        ),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": row_rates.WARPS},
    )
    code = disassembled(compiled.asm["cubin"], row_rates.WARPS / row_rates.BLOCK)
    assert code.count(r"(LDL|STL)\b.*") == 0
    if name == "gather":
        assert code.count(r"LDG\.E\.128(\..*)?") >= 2
    else:
        assert code.count(r"REDG\.E\.ADD\.F32x4\..*") == code.count(r"(RED|ATOM).*") >= 2

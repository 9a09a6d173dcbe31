"""The Triton kernels against the float64 reference: on the CPU through Triton's interpreter, on a GPU for real.

Triton reads TRITON_INTERPRET when it is imported, so the interpreter has a process of its own: one test here runs
this file in a child. All others run there, and where there is a GPU; a program takes the interpreter 0.1 s, which
is why everything here is tiny.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn import reference, tiles, triton_impl, triton_launch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
Shapes = tuple[tuple[int, int], ...]
SHAPES: Shapes = ((3, 4), (2, 5))

needs_triton = pytest.mark.skipif(not triton_impl.installed(), reason="Triton is not installed")
on_device: Callable[..., Any] = (
    # numpy warns of what the tests of infinities are about
    pytest.mark.filterwarnings("ignore::RuntimeWarning") if INTERPRETED else pytest.mark.cuda
)


def in_a_child(*arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, *arguments]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    child = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert " passed" in child.stdout


if triton_impl.installed():
    import triton
    import triton.language as tl

    from effbench.kernels.ms_deform_attn.triton_sampling import block_queries

    @triton.jit
    def queries_kernel(output, Q, H0, H1, W0, W1, TILE_H: tl.constexpr, TILE_W: tl.constexpr):  # type: ignore[no-untyped-def]
        query, exists = block_queries(tl.program_id(0), Q, (H0, H1), (W0, W1), 2, TILE_H, TILE_W)
        place = tl.program_id(0) * TILE_H * TILE_W + tl.arange(0, TILE_H * TILE_W)
        tl.store(output + place, tl.where(exists, query, -1))


if not INTERPRETED:

    @needs_triton
    def test_the_interpreter_agrees_with_the_reference() -> None:
        in_a_child()

    @pytest.mark.slow
    @needs_triton
    def test_the_interpreter_agrees_on_2000_random_cases() -> None:
        in_a_child("-m", "slow", "-o", "timeout=3000")

    def test_a_tensor_on_the_cpu_is_refused() -> None:
        assert (triton_impl.reason(torch.zeros(1, 2, 1, 8)) or "").startswith(
            "value is on cpu" if triton_impl.installed() else "triton is not installed"
        )

    def test_without_triton_the_reason_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        triton_impl.installed.cache_clear()
        try:
            assert triton_impl.reason(torch.zeros(1, 2, 1, 8)) == "triton is not installed"
        finally:
            triton_impl.installed.cache_clear()

    @pytest.mark.parametrize("sizes", [(1, 2**20, 1), (1, 4, 2**27), (2**30, 4, 1)], ids=str)
    def test_what_32_bit_offsets_do_not_reach_is_refused(sizes: tuple[int, int, int]) -> None:
        B, S, Q = sizes
        value, points = (torch.empty(shape, device="meta") for shape in ((B, S, 16, 128), (B, Q, 16, 1, 1, 2)))
        with pytest.raises(ValueError, match=f"B={B}, S={S}, Q={Q}, .* too many for 32-bit offsets"):
            triton_launch.Launch("forward", value, ((1, S),), points, None)


class Case(NamedTuple):
    """Arguments of `triton_impl.forward`, or with `origin` of `triton_impl.forward_fused`."""

    value: Tensor
    shapes: Shapes
    points: Tensor
    scores: Tensor
    origin: Tensor | None = None

    def forward(self) -> Tensor:
        if self.origin is None:
            return triton_impl.forward(self.value, self.shapes, self.points, self.scores)
        return triton_impl.forward_fused(self.value, self.shapes, self.points, self.scores, self.origin)

    def backward(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.origin is None:
            return triton_impl.backward(grad, self.value, self.shapes, self.points, self.scores)
        return triton_impl.backward_fused(grad, self.value, self.shapes, self.points, self.scores, self.origin)

    def expected(self, grad: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output and gradients in float64; the fused ones by the chain of softmax and locations, written out."""
        value, points, scores = (t.detach().double().cpu() for t in self[:1] + self[2:4])
        points.requires_grad_()
        scores.requires_grad_()
        locations, weights = points, scores
        if self.origin is not None:
            origin = self.origin.double().cpu()
            origin = origin[None] if origin.ndim == 2 else origin
            origin = origin[:, :, None] if origin.ndim == 3 else origin
            size = torch.tensor([(width, height) for height, width in self.shapes], dtype=torch.float64)
            locations = origin[:, :, None, :, None] + points / size[:, None]
            weights = scores.flatten(3).softmax(-1).view(scores.shape)
        output = reference.forward(value, self.shapes, locations.detach(), weights.detach())
        grads = reference.backward(
            grad.double().cpu().contiguous(), value, self.shapes, locations.detach(), weights.detach()
        )
        if self.origin is not None:
            chained = torch.autograd.grad((locations, weights), (points, scores), grads[1:])
            grads = (grads[0], *chained)
        return output, grads


def case(
    B: int = 1,
    Q: int = 5,
    M: int = 2,
    P: int = 2,
    D: int = 8,
    shapes: Shapes = SHAPES,
    dtype: torch.dtype = torch.float32,
    points: torch.dtype = torch.float32,
    origin: int | None = None,
) -> Case:
    """Random arguments, some samples outside. `origin` is the rank of fused reference points; 0.01 pixels are kept
    between samples and the lines where gradients jump, except where 16-bit points decide."""
    L = len(shapes)
    size = torch.tensor([(w, h) for h, w in shapes], dtype=torch.float64)[:, None]
    cell = (torch.rand(B, Q, M, L, P, 2, dtype=torch.float64) * (size + 2)).floor() - 2  # -2 .. side - 1
    place = (cell + 0.01 + 0.98 * torch.rand_like(cell) + 0.5) / size
    value = torch.randn(B, sum(h * w for h, w in shapes), M, D)
    scores = torch.randn(B, Q, M, L, P)
    given = None
    if origin is not None:
        shape = {2: (Q, 2), 3: (B, Q, 2), 4: (B, Q, L, 2)}[origin]
        given = torch.rand(shape)
        middle = given if origin == 4 else given[..., None, :]
        place = (place - middle[..., None, :, None, :]) * size
        given = given.to(DEVICE)
    return Case(value.to(DEVICE, dtype), shapes, place.to(DEVICE, points), scores.to(DEVICE, points), given)


def check(given: Case, what: str = "") -> None:
    """Output and gradients are those of the reference, but for rounding in the dtype of each."""
    output = given.forward()
    B, Q, M = given.points.shape[:3]
    assert output.shape == (B, Q, M * given.value.shape[3]) and output.dtype == given.value.dtype
    grad = torch.randn(output.shape).to(DEVICE, output.dtype)
    expected, grads = given.expected(grad)
    # A place is rounded, too, which counts where a sample only just touches the map: its share is off by so much.
    share = torch.finfo(torch.float32).eps
    largest, steepest = (float(t.abs().max()) if t.numel() else 0.0 for t in (given.value, grad))
    more = {"value": share * steepest, "points": 0.0, "scores": share * largest * steepest * given.value.shape[3]}
    close(output, expected, 5e-6, f"{what} output", share * largest)
    inputs = (given.value, given.points, given.scores)
    for name, ours, theirs, tensor in zip(
        ("value", "points", "scores"), given.backward(grad), grads, inputs, strict=True
    ):
        assert (ours.shape, ours.dtype) == (tensor.shape, tensor.dtype)
        close(ours, theirs, 2e-5, f"{what} gradient of {name}", more[name])


def close(ours: Tensor, theirs: Tensor, bound: float, what: str, more: float = 0.0) -> None:
    """`bound` times the root mean square, on top the rounding to our dtype, and `more`."""
    if theirs.numel() == 0:
        return
    scale = theirs.square().mean().sqrt()
    unit = torch.finfo(ours.dtype).eps
    allowed = bound * scale + unit * theirs.abs() + torch.finfo(ours.dtype).tiny + more
    worst = ((ours.double().cpu() - theirs).abs() / allowed).max()
    assert worst <= 1, f"{what}: {worst:.3g} times the allowed error"


def draw(seed: int) -> Case:
    """A random configuration that takes the interpreter few programs."""
    random = torch.Generator().manual_seed(seed)

    def pick(*choices: Any) -> Any:
        return choices[int(torch.randint(len(choices), (), generator=random))]

    torch.manual_seed(seed)
    L, P = pick((1, 1), (1, 2), (1, 3), (1, 8), (2, 1), (2, 2), (2, 5), (3, 1), (3, 4), (4, 1), (5, 2), (5, 1))
    shapes = tuple((pick(1, 2, 3), pick(1, 2, 5)) for _ in range(L))
    B, M = pick((1, 1), (1, 1), (1, 1), (1, 2), (2, 1))
    dtype = pick(torch.float32, torch.float32, torch.float16, torch.bfloat16)
    origin = pick(None, None, 2, 3, 4)
    # 16-bit locations would put samples on the lines where gradients jump
    points = pick(torch.float32, torch.float32, dtype if origin is None and dtype == torch.float32 else torch.float32)
    return case(
        B,
        pick(1, 3, 4, sum(h * w for h, w in shapes)),
        M,
        P,
        pick(4, 5, 8, 16, 24, 32, 40, 64, 96, 128),
        shapes,
        dtype,
        points,
        origin,
    )


@on_device
@pytest.mark.parametrize("first", range(0, 100, 20))
def test_random_cases(first: int) -> None:
    for seed in range(first, first + 20):
        given = draw(seed)
        check(given, f"seed {seed}, {[t.shape for t in given if isinstance(t, Tensor)]}")


@pytest.mark.slow
@on_device
@pytest.mark.parametrize("first", range(1000, 3000, 200))
def test_random_cases_in_thousands(first: int) -> None:
    for seed in range(first, first + 200):
        given = draw(seed)
        check(given, f"seed {seed}, {[t.shape for t in given if isinstance(t, Tensor)]}")


@on_device
@pytest.mark.parametrize("Q", [31, 32, 33])
def test_ragged_blocks_of_queries(Q: int) -> None:
    check(case(Q=Q, M=1, P=1, D=32))


@on_device
@pytest.mark.parametrize("origin", [None, 3])
def test_queries_that_are_the_pixels(origin: int | None) -> None:
    shapes = ((6, 9), (3, 5))
    check(case(B=2, Q=69, M=1, P=1, D=32, shapes=shapes, origin=origin))


@on_device
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("origin", [None, 2])
def test_every_tensor_in_16_bits(dtype: torch.dtype, origin: int | None) -> None:
    """Samples may lie on lines where gradients jump, and do so on both sides alike: inputs are rounded first."""
    given = case(dtype=dtype, points=dtype, origin=origin)
    grad = torch.randn(given.forward().shape).to(DEVICE, dtype)
    output, _ = given.expected(grad)
    close(given.forward(), output, 1e-5, "output")
    assert [t.dtype for t in given.backward(grad)] == 3 * [dtype]


@on_device
def test_positions_at_and_around_the_border() -> None:
    height, width = 3, 4
    x, y = torch.meshgrid(
        torch.tensor([-1.5, -1, -0.5, 0, 1, width - 1, width - 0.5, width, width + 7]),
        torch.tensor([-1, -0.25, 0, height - 1, height - 0.75, height]),
        indexing="ij",
    )
    pixel = torch.stack((x, y), -1).view(1, -1, 1, 1, 1, 2)
    given = Case(
        torch.randn(1, height * width, 1, 8).to(DEVICE),
        ((height, width),),
        ((pixel + 0.5) / torch.tensor([width, height])).to(DEVICE),
        torch.ones(pixel.shape[:-1]).to(DEVICE),
    )
    grad = torch.randn(1, pixel.shape[1], 8).to(DEVICE)
    output, (grad_value, _, grad_weights) = given.expected(grad)
    ours = given.backward(grad)
    close(given.forward(), output, 1e-6, "output")
    close(ours[0], grad_value, 1e-5, "gradient of value")
    close(ours[2], grad_weights, 1e-5, "gradient of weights")
    # The released kernel has no pixel, and so no gradient, at exactly one pixel outside.
    outside = ((pixel <= -1) | (pixel >= torch.tensor([width, height]))).any(-1)
    assert not ours[1][outside.to(DEVICE)].any()
    assert ours[1][~outside.to(DEVICE)].any(-1).all()


@on_device
def test_a_pixel_centre_returns_the_pixel_to_the_bit() -> None:
    height, width = 2, 4
    value = torch.randn(1, height * width, 1, 8).to(DEVICE)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).view(1, -1, 1, 1, 1, 2).to(DEVICE)
    output = triton_impl.forward(value, ((height, width),), centres, torch.ones_like(centres[..., 0]))
    assert torch.equal(output, value[:, :, 0])


@on_device
@pytest.mark.parametrize("place", [-1.0, 2.0, 1e30, -1e30, float("inf"), float("nan")])
@pytest.mark.parametrize("origin", [None, 2])
def test_everything_outside_is_exactly_nothing(place: float, origin: int | None) -> None:
    given = case(origin=origin)
    given = given._replace(points=torch.full_like(given.points, 100 * place))
    if origin is None:
        given.scores[:, 0] = torch.inf
    output = given.forward()
    for tensor in (output, *given.backward(torch.ones_like(output))):
        assert torch.count_nonzero(tensor) == 0


@on_device
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_location_that_is_not_finite_contributes_nothing(bad: float) -> None:
    given = case(Q=3)
    spoilt, silent = given.points.clone(), given.scores.clone()
    spoilt[:, 1, :, :, 1, 0] = bad
    silent[:, 1, :, :, 1] = 0
    output = given._replace(points=spoilt).forward()
    assert torch.equal(output, given._replace(scores=silent).forward())
    for tensor in given._replace(points=spoilt).backward(torch.ones_like(output)):
        assert tensor.isfinite().all()


@on_device
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_not_finite_in_value_reaches_exactly_what_touches_it(bad: float, dtype: torch.dtype) -> None:
    given = case(Q=30, M=1, P=1, dtype=dtype, shapes=((4, 8),))
    given.points[:, :5] = torch.tensor([2.5 / 8, 1.5 / 4])  # to the pixel: a share of zero touches, too
    given.scores[:, 0], given.scores[:, 1], given.scores[:, 2] = 0, 1, -1
    given.value[0, 8 + 3] = bad
    given.value[0, 31] = bad
    expected, _ = given.expected(torch.zeros(1, 30, 8))
    output = given.forward().double().cpu()
    assert 0 < output.isfinite().sum() < output.numel()
    assert torch.equal(output.isnan(), expected.isnan())
    assert torch.equal(output.isinf(), expected.isinf())


@on_device
@pytest.mark.parametrize("D", [24, 40, 48, 5])
def test_the_next_heads_channels_are_not_read(D: int) -> None:
    given = case(M=2, D=D)
    spoilt = given.value.clone()
    spoilt[:, :, 1] = float("nan")
    output = given._replace(value=spoilt).forward()
    assert torch.equal(output[..., :D], given.forward()[..., :D])
    grads = given._replace(value=spoilt).backward(torch.ones_like(output))
    for tensor in (grads[1][:, :, 0], grads[2][:, :, 0]):
        assert tensor.isfinite().all()


@on_device
def test_layout_does_not_matter() -> None:
    given = case(B=2, M=2, origin=3)
    output = given.forward()
    grad = torch.randn(2, 16, 5).to(DEVICE).transpose(1, 2)
    grads = given.backward(grad.contiguous())

    def strided(t: Tensor) -> Tensor:
        return t.movedim(0, -1).contiguous().movedim(-1, 0)

    def misaligned(t: Tensor) -> Tensor:
        return torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape)

    def sliced(t: Tensor) -> Tensor:
        return torch.cat([t, t], -1)[..., : t.shape[-1]]

    for change in (strided, misaligned, sliced):
        assert given.origin is not None
        changed = Case(change(given.value), given.shapes, *map(change, (given.points, given.scores, given.origin)))
        assert torch.equal(changed.forward(), output)
        for ours, theirs in zip(changed.backward(grad), grads, strict=True):
            # atomics add in any order on a GPU
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0 if INTERPRETED else 1e-5)


@on_device
def test_expanded_tensors() -> None:
    one = case(B=1, M=1)
    three = Case(*(t.expand(3, *t.shape[1:]) if isinstance(t, Tensor) else t for t in one))
    assert torch.equal(three.forward(), one.forward().expand(3, -1, -1))
    grad = torch.ones((), device=DEVICE).expand(3, 5, 8)
    grads = one.backward(grad[:1])
    for ours, theirs in zip(three.backward(grad), grads, strict=True):
        torch.testing.assert_close(ours, theirs.expand_as(ours), rtol=0, atol=0 if INTERPRETED else 1e-5)


@on_device
@pytest.mark.parametrize("sizes", [{"Q": 0}, {"B": 0}, {"M": 0}, {"B": 0, "Q": 0}], ids=str)
def test_nothing_asked_nothing_returned(sizes: dict[str, int]) -> None:
    for origin in (None, 3):
        given = case(**sizes, origin=origin)
        output = given.forward()
        grads = given.backward(torch.ones_like(output))
        assert output.shape == (*given.points.shape[:2], given.value.shape[2] * 8)
        assert [g.shape for g in grads] == [given.value.shape, given.points.shape, given.scores.shape]
        assert not any(g.any() for g in grads)


@on_device
def test_an_image_gives_the_same_bits_alone_and_in_a_batch() -> None:
    given = case(B=3, Q=22, M=1)  # as many queries as pixels
    together = given.forward()
    for i in range(3):
        alone = Case(*(t[i : i + 1] if isinstance(t, Tensor) else t for t in given))
        assert torch.equal(alone.forward()[0], together[i])


@on_device
@pytest.mark.parametrize("Q", [22, 21])
def test_permuted_queries_permute_the_output_bit_for_bit(Q: int) -> None:
    given = case(Q=Q, M=1)
    order = torch.randperm(Q)
    permuted = given._replace(points=given.points[:, order], scores=given.scores[:, order])
    assert torch.equal(permuted.forward(), given.forward()[:, order])


@on_device
@pytest.mark.parametrize("origin", [None, 2, 4])
def test_the_deterministic_gradient_is_the_same_gradient(origin: int | None) -> None:
    given = case(B=2, M=2, origin=origin, shapes=((1, 3), (4, 2)))
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        check(given)
    finally:
        torch.use_deterministic_algorithms(before)


@on_device
def test_tiles_of_the_kernel_are_those_of_plain_python() -> None:
    for shapes, tile in ((((17, 9), (1, 1)), (2, 4)), (((5, 23), (18, 3)), (4, 8)), (((3, 3), (33, 20)), (8, 16))):
        count, queries = tiles.tile_count(shapes, tile), sum(h * w for h, w in shapes)
        output = torch.full((count, tile[0] * tile[1]), -2, dtype=torch.int32, device=DEVICE)
        (h0, w0), (h1, w1) = shapes
        queries_kernel[(count,)](output, queries, h0, h1, w0, w1, TILE_H=tile[0], TILE_W=tile[1])
        ours = [[q for q in row if q >= 0] for row in output.tolist()]
        assert ours == list(tiles.tiled_queries(shapes, tile))


@on_device
@pytest.mark.parametrize("kernel", ["forward", "backward"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("D", [8, 32])
def test_every_candidate_for_tuning_is_right(
    kernel: str, dtype: torch.dtype, D: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = triton_launch.Key(kernel, dtype.itemsize, D, 1)
    candidates = triton_launch.candidates(key)
    assert triton_launch.default(key) in candidates
    if INTERPRETED:  # which knows neither warps nor registers
        candidates = list({c.tile: c for c in candidates}.values())[:2]
    given = case(Q=22, M=1, P=1, D=D, dtype=dtype)
    for config in candidates:
        monkeypatch.setitem(triton_launch.TABLE, key, config)
        check(given, str(config))


@on_device
def test_what_the_kernels_cannot_serve_is_refused_by_name() -> None:
    value = torch.zeros(1, 2, 1, 8, device=DEVICE)
    assert triton_impl.reason(value) is None
    assert "torch.float64" in (triton_impl.reason(value.double()) or "")
    assert "D=129" in (triton_impl.reason(torch.zeros(1, 2, 1, 129, device=DEVICE)) or "")
    six = ((1, 1),) * 6
    with pytest.raises(ValueError, match="L=6 levels and P=2 points; the Triton kernels take up to 5 and 8"):
        case(shapes=six).forward()
    with pytest.raises(ValueError, match="L=2 levels and P=9 points"):
        case(P=9).forward()


@pytest.mark.cuda
def test_runs_are_reproducible_on_a_gpu() -> None:
    torch.manual_seed(0)
    given = case(B=2, Q=500, M=8, P=4, D=32)
    grad = torch.randn(2, 500, 256).to(DEVICE)
    outputs = [given.forward() for _ in range(10)]
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    torch.use_deterministic_algorithms(True)
    try:
        gradients = [given.backward(grad) for _ in range(10)]
    finally:
        torch.use_deterministic_algorithms(False)
    for other in gradients:
        assert all(map(torch.equal, other, gradients[0]))


@pytest.mark.cuda
def test_offsets_beyond_32_bits_on_a_gpu() -> None:
    B, shapes, M, D = 513, ((64, 64),), 8, 128
    value = torch.zeros(B, 4096, M, D, dtype=torch.float16, device=DEVICE)
    assert value.numel() > 2**31
    value[-1] = torch.randn(4096, M, D)
    locations = torch.rand(B, 3, M, 1, 2, 2, device=DEVICE)
    weights = torch.rand(B, 3, M, 1, 2, device=DEVICE)
    output = triton_impl.forward(value, shapes, locations, weights)
    assert not output[:-1].any()
    last = triton_impl.forward(value[-1:], shapes, locations[-1:], weights[-1:])
    assert last.any() and torch.equal(output[-1:], last)


@pytest.mark.cuda
def test_a_graph_replays_with_new_numbers() -> None:
    given = case(B=1, Q=22, M=8, P=4, D=32, origin=3)
    given.forward()  # compiles, which a capture must not
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = given.forward()
    for _ in range(2):
        given.value.normal_()
        graph.replay()
        assert torch.equal(output, given.forward())

"""Multiply-accumulates of a segmenter by component, without doing the compute: shapes on the meta device.

A count belongs to the component whose module runs the operator. As in the papers' tool, the encoder's top-down
resize runs in the encoder's own forward, outside its submodules, and is booked under `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from effbench.encoders.contract import EncoderOutput, exits_of
from effbench.models import postprocess
from effbench.models.segmenter import Segmenter
from effbench.probes import mac_rules, mac_shapes

PARTS = ("backbone", "encoder", "decoder")
COMPONENTS = (*PARTS, "post_processing", "other")
CONVENTIONS = ("papers", "complete")

_RESIZES = (torch.ops.aten.upsample_bilinear2d, torch.ops.aten.upsample_nearest2d)
_WHOLE: Mapping[Any, Callable[..., tuple[int, int]]] = {
    F.multi_head_attention_forward: mac_rules.multi_head_attention,
    F.scaled_dot_product_attention: mac_rules.scaled_dot_product,
    F.adaptive_avg_pool2d: mac_rules.adaptive_average,
}
_SHAPE_OF_WHOLE: Mapping[Any, Callable[..., Any]] = {
    F.multi_head_attention_forward: mac_shapes.multi_head_attended,
    F.scaled_dot_product_attention: mac_shapes.attended,
}


@dataclass
class MacCount:
    """Multiply-accumulates by (component, operator), once per convention."""

    papers: Counter[tuple[str, str]] = field(default_factory=Counter)
    complete: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __add__(self, other: MacCount) -> MacCount:
        return MacCount(self.papers + other.papers, self.complete + other.complete)

    def times(self, images: int) -> MacCount:
        """The MACs of so many images."""
        return MacCount(*(Counter({key: images * n for key, n in c.items()}) for c in (self.papers, self.complete)))

    def by_component(self, convention: str) -> dict[str, int]:
        """MACs of each of `COMPONENTS`, and their sum as `total`."""
        counts: Counter[tuple[str, str]] = getattr(self, convention)
        result = {c: sum(n for (component, _), n in counts.items() if component == c) for c in COMPONENTS}
        return {**result, "total": sum(result.values())}

    def left_out(self) -> dict[str, int]:
        """operator -> MACs that the complete convention counts and the papers' does not."""
        missing: Counter[str] = Counter()
        for (component, operator), macs in self.complete.items():
            missing[operator] += macs - self.papers[component, operator]
        return {operator: macs for operator, macs in missing.items() if macs}


class _WholeFunctions(TorchFunctionMode):
    """Counts whole functions by formula, so that it does not matter which kernel or decomposition runs them."""

    def __init__(self, book: _Book) -> None:
        super().__init__()
        self.book = book

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _WHOLE or self.book.muted:
            return func(*args, **kwargs)
        self.book.add(func.__name__, *_WHOLE[func](*args, **kwargs))
        if func in _SHAPE_OF_WHOLE and args and args[0].is_meta and not kwargs.get("need_weights"):
            return _SHAPE_OF_WHOLE[func](*args, **kwargs)
        self.book.muted = True
        try:
            return func(*args, **kwargs)
        finally:
            self.book.muted = False


class _Book(TorchDispatchMode):
    """Books every executed operator under the component that is running."""

    def __init__(self, count: MacCount) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = count
        self.muted = False
        self.component = "other"
        self.encoder_itself = False

    def add(self, op: str, papers: int, complete: int) -> None:
        self.count.papers[self.component, op] += papers
        self.count.complete[self.component, op] += complete

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        shape = mac_shapes.SHAPES.get(func)
        out = shape(*args) if shape and not kwargs and args[0].is_meta else func(*args, **kwargs)
        if not self.muted:
            papers, complete = mac_rules.papers_and_complete(func, args, out)
            component = self.component
            if self.encoder_itself and func.overloadpacket in _RESIZES:
                self.component = "other"
            self.add(func.overloadpacket.__name__, papers, complete)
            self.component = component
        return out


@contextmanager
def _booking(model: Segmenter) -> Iterator[_Book]:
    """Count what runs inside, by component of `model`."""
    book = _Book(MacCount())
    depth = 0

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            book.component, book.encoder_itself = name, name == "encoder"

        return hook

    def leave(*_: Any) -> None:
        book.component, book.encoder_itself = "other", False

    def enter_child(*_: Any) -> None:
        nonlocal depth
        depth += 1
        book.encoder_itself = False

    def leave_child(*_: Any) -> None:
        nonlocal depth
        depth -= 1
        book.encoder_itself = depth == 0

    with ExitStack() as stack:
        for name in PARTS:
            module: nn.Module = getattr(model, name)
            stack.callback(module.register_forward_pre_hook(enter(name)).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        for child in list(model.encoder.modules())[1:]:
            stack.callback(child.register_forward_pre_hook(enter_child).remove)
            stack.callback(child.register_forward_hook(leave_child).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(book)
        stack.enter_context(_WholeFunctions(book))
        yield book


def count_model(model: Segmenter, height: int, width: int, exit: int | None = None) -> MacCount:
    """MACs of backbone, encoder, decoder and the encoder's top-down resize on one image (1, 3, height, width).

    `exit` is that of an early-exit encoder, None its deepest: shapes alone give a gate nothing to decide by.
    """
    device = next(model.parameters()).device
    with _booking(model.eval()) as book:
        model(torch.empty(1, 3, height, width, device=device), **_exit(model, exit))
    return book.count


def _exit(model: Segmenter, exit: int | None) -> dict[str, int]:
    exits = exits_of(model.encoder)
    return {"exit": exit or max(exits)} if exits else {}


def count_part(model: Segmenter, part: str, padded: tuple[int, int], exit: int | None = None) -> MacCount:
    """MACs of one of `PARTS` alone (the encoder's with its top-down resize) on one image padded to (H, W)."""
    device = next(model.parameters()).device

    def maps(channels: int, stride: int) -> torch.Tensor:
        return torch.empty(1, channels, padded[0] // stride, padded[1] // stride, device=device)

    inputs: dict[str, Callable[[], Any]] = {
        "backbone": lambda: maps(3, 1),
        "encoder": lambda: {name: maps(*spec) for name, spec in model.backbone.features.items()},
        "decoder": lambda: EncoderOutput(
            maps(model.encoder.mask_dim, 4),
            (maps(model.encoder.dim, 32), maps(model.encoder.dim, 16), maps(model.encoder.dim, 8)),
        ),
    }
    with _booking(model.eval()) as book:
        getattr(model, part)(inputs[part](), **(_exit(model, exit) if part == "encoder" else {}))
    return book.count


def count_post_processing(
    queries: int, classes: int, padded: tuple[int, int], image: tuple[int, int], output: tuple[int, int]
) -> dict[str, int]:
    """MACs of resizing the masks and of semantic inference, per convention.

    Panoptic and instance inference, on in the papers' totals, have no multiply-accumulates. `image` is the resized
    image inside `padded`, `output` the original one that the masks are brought to.
    """
    book = _Book(MacCount())
    book.component = "post_processing"
    with torch.device("meta"), torch.no_grad(), book:
        masks = torch.empty(queries, padded[0] // 4, padded[1] // 4)
        masks = postprocess.resize_masks(masks, padded, image, output)
        postprocess.semantic(torch.empty(queries, classes + 1), masks)
    return {convention: book.count.by_component(convention)["post_processing"] for convention in CONVENTIONS}

"""The operator on a CPU without a compiler: every (query, head) is one weighted bag of rows of the value.

Interpolation and attention together give each of a bag's 4 * L * P rows one weight, and `embedding_bag` adds them up
in one pass, so no sampled value is ever stored. Rows and weights are made for a few queries at a time, so that they
stay in cache. The value's gradient is the same sum the other way round, over samples sorted by where they fall.

Sums are in float32 and in a fixed order, and no elementwise step rounds twice (whether a multiply-add is fused may
depend on an element's place in a vector), so results depend neither on the number of threads nor on other images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effbench.kernels.ms_deform_attn.cpu_rows import rows_of
from effbench.kernels.ms_deform_attn.reference import Shapes

CHUNK = 1 << 19
"""Samples whose rows and weights are made at a time: fewer cost calls, more leave the cache."""
GROUP = 1 << 22
"""Samples, or rows, of the images that are worked on together, which bounds the memory; at least one image is."""

FEW = 1.5
"""Samples per pixel of the maps below which only the pixels that they touch are summed up, with the same bits."""

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_INT32: Any = {"dtype": torch.int32, "device": "cpu"}  # whatever the default device is
_SUM = 0  # aten's enumeration of what embedding_bag does with a bag


def reason(value: Tensor) -> str | None:
    """Why this implementation cannot run for `value`; None where it can."""
    if value.device.type != "cpu":
        return f"it needs tensors on the CPU, got {value.device}"
    if value.dtype not in _DTYPES:
        return f"it computes in float32, got {value.dtype}"
    return None


def forward(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The operator's output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn`."""
    return _Bags(value, shapes, locations, weights).forward(value)


def backward(
    grad: Tensor, value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights for `grad` (B, Q, M*D)."""
    return _Bags(value, shapes, locations, weights).backward(grad, value)


def forward_fused(value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor) -> Tensor:
    """The output (B, Q, M*D), in value's dtype; arguments as in `ms_deform_attn_fused`."""
    return _Bags(value, shapes, offsets, logits, reference).forward(value)


def backward_fused(
    grad: Tensor, value: Tensor, shapes: Shapes, offsets: Tensor, logits: Tensor, reference: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, offsets and logits for `grad` (B, Q, M*D)."""
    return _Bags(value, shapes, offsets, logits, reference).backward(grad, value)


class _Chunk(NamedTuple):
    """The samples of some queries, each tensor (queries, M*L*P)."""

    queries: slice
    """Among those of all images."""
    row: Tensor
    """Of the upper left of the sample's four pixels, int32."""
    across: Tensor
    """How far right of it the sample lies, in pixels."""
    down: Tensor
    attention: Tensor


class _Bags:
    """One call of the operator: where its samples lie and what they weigh, queries of all images in one row.

    `places` are locations and `attention` weights, or, with `reference`, offsets and logits.
    """

    def __init__(
        self, value: Tensor, shapes: Shapes, places: Tensor, attention: Tensor, reference: Tensor | None = None
    ) -> None:
        self.shape = B, Q, M, L, P, _ = places.shape
        self.B, self.Q, self.M, self.LP, self.D = B, Q, M, L * P, value.shape[3]
        self.rows = rows_of(tuple((height, width) for height, width in shapes), M, P)
        self.places = places.reshape(B * Q, M * L * P, 2).permute(2, 0, 1)
        self.attention = attention.reshape(B * Q, M, L * P)
        self.reference = None if reference is None else self._spread(reference.float())

    def _spread(self, reference: Tensor) -> Tensor:
        """(Q, 2), (B, Q, 2) or (B, Q, L, 2) as (2, B*Q, 1 or M*L*P)."""
        B, Q, M, L, P, _ = self.shape
        if reference.ndim == 4:
            each = reference[:, :, None, :, None].expand(B, Q, M, L, P, 2).reshape(B * Q, M * L * P, 2)
        else:
            each = reference.expand(B, Q, 2).reshape(B * Q, 1, 2)
        return each.permute(2, 0, 1)

    def forward(self, value: Tensor) -> Tensor:
        output = value.new_empty(self.B * self.Q, self.M * self.D)
        for images in self._groups():
            table = self.rows.padded(value[images]).view(-1, self.D)
            for chunk in self._chunks(images):
                weights = self._stacked(_corner_weights(chunk.across, chunk.down, chunk.attention))
                bags = _weighted_sums(table, self._four_rows(chunk.row), weights, self._starts(chunk.row))
                output[chunk.queries] = bags.view(-1, self.M * self.D)
        return output.view(self.B, self.Q, self.M * self.D)

    def backward(self, grad: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of value, places and attention, in their dtypes."""
        grad = grad.reshape(self.B, self.Q * self.M, self.D).float()
        grad_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
        grad_places = torch.empty_like(self.places, memory_format=torch.contiguous_format)
        grad_attention = torch.empty_like(self.attention, memory_format=torch.contiguous_format)
        for images in self._groups():
            table = self.rows.padded(value[images]).view(-1, self.D)
            chunks = list(self._chunks(images))
            for chunk in chunks:
                products = self._products(table, grad.view(-1, self.M, self.D)[chunk.queries], chunk.row)
                across, down, attention = _chain(products, chunk)
                if self.reference is None:  # locations are shares of the map
                    across, down = across.mul_(self.rows.size[0]), down.mul_(self.rows.size[1])
                grad_places[0, chunk.queries] = across
                grad_places[1, chunk.queries] = down
                grad_attention[chunk.queries] = self._through_softmax(attention, chunk)
            self._scatter(grad[images].flatten(0, 1), chunks, out=grad_value[images])
        return (
            grad_value,
            grad_places.permute(1, 2, 0).reshape(self.shape),
            grad_attention.view(self.shape[:-1]),
        )

    def _groups(self) -> Iterator[slice]:
        """Images that are worked on together."""
        if self.B * self.Q == 0:
            return
        images = max(1, GROUP // (max(self.Q * self.LP, self.rows.pixels) * self.M))
        for first in range(0, self.B, images):
            yield slice(first, min(first + images, self.B))

    def _chunks(self, images: slice) -> Iterator[_Chunk]:
        """Rows count from the first of `images`."""
        length = max(1, CHUNK // (self.M * self.LP))
        begin, end = images.start * self.Q, images.stop * self.Q
        of_image = torch.arange(images.stop - images.start, **_INT32) * (self.rows.pixels * self.M)
        of_query = of_image.repeat_interleave(self.Q)[:, None]
        for first in range(begin, end, length):
            queries = slice(first, min(first + length, end))
            pixel = self._pixel(queries)
            corner = pixel.floor()
            row = corner[1].to(torch.int32).mul_(self.rows.down)
            row += corner[0].to(torch.int32).mul_(self.M).add_(self.rows.first)
            row += of_query[queries.start - begin : queries.stop - begin]
            across, down = pixel.sub_(corner)
            yield _Chunk(queries, row, across, down, self._attention(queries))

    def _pixel(self, queries: slice) -> Tensor:
        """x and y (2, queries, M*L*P), 0 at the first pixel's centre; what reaches no pixel lies at -2 or W, H."""
        places = self.places[:, queries]
        if self.reference is None:
            pixel = (places * self.rows.size).sub_(0.5)
        else:
            pixel = (self.reference[:, queries] * self.rows.size).sub_(0.5).add_(places)
        pixel = torch.where(pixel > -1, pixel, -2.0)  # false for what is not a number, too
        return torch.minimum(pixel, self.rows.size, out=pixel)

    def _attention(self, queries: slice) -> Tensor:
        attention = self.attention[queries].float()
        if self.reference is not None:
            # torch.softmax takes five times as long for so few numbers in a row.
            attention = (attention - attention.amax(-1, keepdim=True)).exp_()
            attention /= attention.sum(-1, keepdim=True)
        return attention.flatten(1)

    def _through_softmax(self, grad: Tensor, chunk: _Chunk) -> Tensor:
        grad, attention = (x.view(-1, self.M, self.LP) for x in (grad, chunk.attention))
        if self.reference is None:
            return grad
        return torch.ops.aten._softmax_backward_data(grad, attention, -1, torch.float32)

    def _four_rows(self, row: Tensor) -> Tensor:
        right, lower = row + self.M, row + self.rows.down
        return self._stacked((row, right, lower, lower + self.M))

    def _stacked(self, corners: Sequence[Tensor]) -> Tensor:
        """Four of (queries, M*L*P) as (queries*M*4*L*P), bag after bag."""
        stacked = corners[0].new_empty(len(corners[0]), self.M, 4, self.LP)
        for number, corner in enumerate(corners):
            stacked[:, :, number] = corner.view(-1, self.M, self.LP)
        return stacked.view(-1)

    def _starts(self, row: Tensor) -> Tensor:
        return torch.arange(0, 4 * row.numel(), 4 * self.LP, **_INT32)

    def _products(self, table: Tensor, grad: Tensor, row: Tensor) -> Tensor:
        """Of each sample's four pixels with its bag's gradient: (2 down, 2 across, queries, M*L*P)."""
        starts = self._starts(row)
        bag = torch.arange(len(starts), **_INT32).repeat_interleave(4 * self.LP)
        products = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            grad.flatten(0, 1), table, self._four_rows(row), starts, bag, _SUM
        )
        return products.view(-1, self.M, 4, self.LP).permute(2, 0, 1, 3).reshape(2, 2, *row.shape)

    def _scatter(self, grad: Tensor, chunks: Sequence[_Chunk], out: Tensor) -> None:
        """Fill the value's gradient (images, S, M, D) from that of the bags (images*Q*M, D)."""
        row, across, down, attention = (torch.cat(x).view(-1) for x in list(zip(*chunks, strict=True))[1:])
        row, order = row.sort(stable=True)
        bag = order.div(self.LP, rounding_mode="floor").int()
        few = FEW * self.rows.pixels > self.Q * self.LP
        if few:
            touched, counts = torch.unique_consecutive(row, return_counts=True)
        else:
            counts = torch.bincount(row, minlength=len(out) * self.rows.pixels * self.M)
        starts = counts.cumsum(0).sub_(counts).int()
        weights = _corner_weights(*(x.index_select(0, order) for x in (across, down, attention)))
        sums = [_weighted_sums(grad, bag, weight, starts) for weight in weights]
        if few:
            self.rows.add_corners(touched, sums, out)
        else:
            self.rows.sum_of_corners([x.view(len(out), self.rows.pixels, self.M, self.D) for x in sums], out)


def _weighted_sums(table: Tensor, rows: Tensor, weights: Tensor, starts: Tensor) -> Tensor:
    return torch.embedding_bag(table, rows, starts, mode=_SUM, per_sample_weights=weights)[0]


def _corner_weights(across: Tensor, down: Tensor, attention: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a sample's four pixels: upper left, upper right, lower left, lower right."""
    lower = attention * down
    upper = attention - lower
    upper_right, lower_right = upper * across, lower * across
    return upper - upper_right, upper_right, lower - lower_right, lower_right


def _chain(products: Tensor, chunk: _Chunk) -> tuple[Tensor, Tensor, Tensor]:
    """From `_products` to the gradients of x and y in pixels and of the attention, each (queries, M*L*P)."""
    change = products[:, 1] - products[:, 0]  # from left to right, above and below
    upper, lower = (change * chunk.across).add_(products[:, 0])
    change_down = lower - upper
    change_across = (change[1] - change[0]).mul_(chunk.down).add_(change[0])
    interpolated = (change_down * chunk.down).add_(upper)
    return change_across.mul_(chunk.attention), change_down.mul_(chunk.attention), interpolated

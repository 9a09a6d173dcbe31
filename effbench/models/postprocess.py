"""From a prediction to maps: resized masks, then semantic, panoptic or instance output, as Mask2Former does it.

Source: Mask2Former's maskformer_model.py (inference); vocabulary: Q queries, K classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

OBJECT_THRESHOLD = 0.8
OVERLAP_THRESHOLD = 0.8
SEMANTIC_NUMBERS = 2**26  # held at once by `semantic_map`: 256 MB in fp32


@dataclass(frozen=True)
class PanopticSegment:
    """One segment of a panoptic prediction; `category` is the contiguous class index."""

    id: int
    category: int
    isthing: bool
    iscrowd: bool = False


def resize_masks(
    masks: Tensor, padded_size: tuple[int, int], image_size: tuple[int, int], output_size: tuple[int, int]
) -> Tensor:
    """Mask logits (Q, h, w) at stride 4 to the output image (Q, H, W): up to the padded input, crop, resize."""
    padded = F.interpolate(masks[None], size=padded_size, mode="bilinear", align_corners=False)
    cropped = padded[:, :, : image_size[0], : image_size[1]]
    return F.interpolate(cropped, size=output_size, mode="bilinear", align_corners=False)[0]


def semantic(logits: Tensor, masks: Tensor) -> Tensor:
    """Class scores per pixel (K, H, W) from logits (Q, K+1) and mask logits (Q, H, W)."""
    return torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())


def semantic_map(logits: Tensor, masks: Tensor) -> Tensor:
    """The class of each pixel, int64 (H, W): the best of `semantic`, a few rows at a time.

    Its scores of a whole Cityscapes image with 133 classes would take 1.1 GB, and the probabilities as much again.
    """
    numbers_per_row = (sum(logits.shape) - 1) * masks.shape[2]
    rows = max(1, SEMANTIC_NUMBERS // numbers_per_row)
    return torch.cat([semantic(logits, part).argmax(0) for part in masks.split(rows, dim=1)])


def panoptic(
    logits: Tensor,
    masks: Tensor,
    things: Collection[int],
    object_threshold: float = OBJECT_THRESHOLD,
    overlap_threshold: float = OVERLAP_THRESHOLD,
) -> tuple[Tensor, list[PanopticSegment]]:
    """Non-overlapping segments from logits (Q, K+1) and mask logits (Q, H, W).

    A pixel goes to the kept query with the largest score times mask probability. A query keeps its pixels unless
    they are fewer than `overlap_threshold` of those its own mask claims; stuff of one class becomes one segment.

    Returns:
        id map (H, W) int32, 0 where nothing was predicted, and its segments with ids from 1.
    """
    scores, labels = logits.softmax(-1).max(-1)
    keep = (labels != logits.shape[-1] - 1) & (scores > object_threshold)
    scores, labels, probability = scores[keep], labels[keep], masks[keep].sigmoid()
    ids = torch.zeros(masks.shape[-2:], dtype=torch.int32, device=masks.device)
    segments: list[PanopticSegment] = []
    if len(labels) == 0:
        return ids, segments
    winner = (scores[:, None, None] * probability).argmax(0)
    stuff_ids: dict[int, int] = {}
    for k, label in enumerate(labels.tolist()):
        claimed = probability[k] >= 0.5
        won = winner == k
        segment = won & claimed
        won_area, claimed_area = int(won.sum()), int(claimed.sum())
        if won_area == 0 or claimed_area == 0 or not segment.any():
            continue
        if won_area / claimed_area < overlap_threshold:
            continue
        isthing = label in things
        if label in stuff_ids:
            ids[segment] = stuff_ids[label]
            continue
        segments.append(PanopticSegment(len(segments) + 1, label, isthing))
        ids[segment] = segments[-1].id
        if not isthing:
            stuff_ids[label] = segments[-1].id
    return ids, segments


@dataclass(frozen=True)
class Instances:
    """Instance predictions: scores (N,), classes (N,) contiguous, masks (N, H, W) bool."""

    scores: Tensor
    classes: Tensor
    masks: Tensor


def instances(logits: Tensor, masks: Tensor, top_k: int = 100, only: Collection[int] | None = None) -> Instances:
    """The `top_k` (query, class) pairs from logits (Q, K+1) and mask logits (Q, H, W).

    `only` keeps these classes (the things, when the model was trained on panoptic labels). A mask's score is its
    class score times its mean probability inside.
    """
    scores = logits.softmax(-1)[:, :-1]
    classes = scores.shape[1]
    top_scores, index = scores.flatten().topk(min(top_k, scores.numel()), sorted=False)
    labels, query = index % classes, index // classes
    if only is not None:
        keep = torch.isin(labels, torch.tensor(sorted(only), dtype=labels.dtype, device=labels.device))
        top_scores, labels, query = top_scores[keep], labels[keep], query[keep]
    # A few masks at a time: all at once would take several times the memory of the masks, 0.8 GB for Cityscapes.
    quality = torch.cat([_probability_inside(part) for part in masks.split(8)])
    return Instances(top_scores * quality[query], labels, (masks > 0)[query])


def _probability_inside(masks: Tensor) -> Tensor:
    """The mean probability (Q,) of mask logits (Q, H, W) where they are positive; 0 where none is."""
    inside = (masks > 0).to(masks.dtype)
    return (masks.sigmoid() * inside).flatten(1).sum(1) / (inside.flatten(1).sum(1) + 1e-6)

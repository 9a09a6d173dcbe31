"""A model's panoptic predictions on a data set, scored image by image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.data.transforms import resize_shortest
from effbench.models import postprocess
from effbench.models.segmenter import Segmenter
from effbench.quality import ImageStats, PanopticMap, accumulate, image_stats, summarise


@dataclass(frozen=True)
class Inference:
    """How images reach the model and predictions become segments.

    Attributes:
        short, longest: sides of the resized image in pixels; None keeps the stored size.
        object_threshold, overlap_threshold: of the panoptic post-processing; 0.8 both in the papers.
    """

    short: int | None = None
    longest: int = 1333
    object_threshold: float = postprocess.OBJECT_THRESHOLD
    overlap_threshold: float = postprocess.OVERLAP_THRESHOLD


@torch.inference_mode()
def predict(model: Segmenter, sample: Sample, things: frozenset[int] | set[int], how: Inference) -> PanopticMap:
    """The panoptic prediction of one sample, at its own size."""
    device = next(model.parameters()).device
    image = sample.image[None].to(device).float() / 255
    original = (image.shape[2], image.shape[3])
    if how.short is not None:
        size = resize_shortest(original, how.short, how.longest)
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
    output = model(image)
    answer = output.predictions[-1]
    resized = (image.shape[2], image.shape[3])
    masks = postprocess.resize_masks(answer.masks[0], output.padded_size, resized, original)
    ids, segments = postprocess.panoptic(answer.logits[0], masks, things, how.object_threshold, how.overlap_threshold)
    return PanopticMap(ids, segments)


def scores(stats: Mapping[int, ImageStats], data: CocoPanoptic) -> dict[str, Any]:
    """PQ, SQ, RQ in percent of "all", "things" and "stuff", as plain JSON."""
    groups = summarise(accumulate(stats.values()), data.categories.things, data.categories.stuff)
    return {name: result._asdict() for name, result in groups.items()}


def per_image(stats: Mapping[int, ImageStats]) -> dict[str, Any]:
    """Every image's statistics as plain JSON: what any later score can be made of."""
    return {str(image): image_stats.to_json() for image, image_stats in stats.items()}


def evaluate(
    model: Segmenter,
    data: CocoPanoptic,
    how: Inference,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, ImageStats]:
    """image id -> its panoptic statistics, for every image of `data`; `on_image(done, total)` after each."""
    model.eval()
    stats: dict[int, ImageStats] = {}
    for i in range(len(data)):
        sample = data[i]
        prediction = predict(model, sample, data.categories.things, how)
        stats[sample.image_id] = image_stats(PanopticMap(sample.id_map, sample.segments), prediction)
        on_image(i + 1, len(data))
    return stats

"""A model's predictions on a data set, scored image by image: panoptic, semantic and instance from one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from effbench.data.coco_panoptic import CocoPanoptic, Sample
from effbench.data.transforms import resize_shortest
from effbench.encoders.contract import exits_of
from effbench.errors import InputError
from effbench.models import postprocess
from effbench.models.segmenter import Segmenter, SegmenterOutput
from effbench.quality import (
    AveragePrecision,
    ImageStats,
    InstanceScorer,
    PanopticMap,
    PanopticWriter,
    accumulate,
    by_size,
    confusion_matrix,
    match_segments,
    mean_iou,
    summarise,
    tally,
)
from effbench.quality.object_size import BOUNDS

Exit = int | Literal["gate"] | None
"""Where images leave an early-exit encoder: a layer, where its gate says, or at its deepest exit."""


@dataclass(frozen=True)
class Inference:
    """How images reach the model and predictions become segments.

    Attributes:
        short, longest: sides of the resized image in pixels; None keeps the stored size.
        object_threshold, overlap_threshold: of the panoptic post-processing; 0.8 both in the papers.
        semantic, instances: whether mIoU_p and AP_p are measured too; each costs time.
    """

    short: int | None = None
    longest: int = 1333
    object_threshold: float = postprocess.OBJECT_THRESHOLD
    overlap_threshold: float = postprocess.OVERLAP_THRESHOLD
    semantic: bool = True
    instances: bool = True


@dataclass(frozen=True, eq=False)
class ImagePrediction:
    """What a model says about one sample, at its own size: segments, the class of each pixel (H, W), and instances.

    The last two are None where `Inference` does not ask for them. `exit` is the layer that the image left after, None
    for an encoder without early exits.
    """

    panoptic: PanopticMap
    semantic: Tensor | None
    instances: postprocess.Instances | None
    exit: int | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What every score is made of.

    Attributes:
        images: image id -> its panoptic statistics.
        sizes: image id -> the same, apart for "small", "medium" and "large" segments.
        confusion: pixels of each true (row) and predicted class, int64 (K, K); None where it was not asked for.
        instances: AP of the things in percent; None where it was not asked for.
        exits: image id -> layer that it left after; empty for an encoder without early exits.
    """

    images: Mapping[int, ImageStats]
    sizes: Mapping[int, Mapping[str, ImageStats]]
    confusion: npt.NDArray[np.int64] | None = None
    instances: AveragePrecision | None = None
    exits: Mapping[int, int] = field(default_factory=dict)


@torch.inference_mode()
def predict(
    model: Segmenter, sample: Sample, things: frozenset[int] | set[int], how: Inference, exit: int | None = None
) -> ImagePrediction:
    """The prediction of one sample, from one forward pass.

    `exit` is a layer of an encoder with early exits; None leaves the choice to its gate.
    """
    image = as_input(model, sample, how)
    output = model(image) if exit is None else model(image, exit)
    return answer(output, image, sample, things, how)


def as_input(model: Segmenter, sample: Sample, how: Inference) -> Tensor:
    """The sample as the model takes it: (1, 3, H, W) in [0, 1] on its device, resized as `how` says."""
    image = sample.image[None].to(next(model.parameters()).device).float() / 255
    if how.short is None:
        return image
    size = resize_shortest((image.shape[2], image.shape[3]), how.short, how.longest)
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def answer(
    output: SegmenterOutput, image: Tensor, sample: Sample, things: frozenset[int] | set[int], how: Inference
) -> ImagePrediction:
    """What the output for `image`, which `as_input` made of the sample, says about the sample at its own size."""
    logits, masks = output.predictions[-1].logits[0], output.predictions[-1].masks[0]
    resized, original = (image.shape[2], image.shape[3]), (sample.image.shape[1], sample.image.shape[2])
    masks = postprocess.resize_masks(masks, output.padded_size, resized, original)
    ids, segments = postprocess.panoptic(logits, masks, things, how.object_threshold, how.overlap_threshold)
    return ImagePrediction(
        PanopticMap(ids, segments),
        postprocess.semantic_map(logits, masks) if how.semantic else None,
        postprocess.instances(logits, masks, only=things) if how.instances else None,
        None if output.encoded.exit is None else int(output.encoded.exit[0]),
    )


def scores(evaluation: Evaluation, data: CocoPanoptic) -> dict[str, Any]:
    """Every score in percent, as plain JSON.

    PQ, SQ, RQ of "all", "things", "stuff" by panopticapi's rule, and, under "by_size", of "small", "medium" and
    "large" segments, over the categories that have true segments of that size: a false positive of another category
    would otherwise change how many are averaged over, and no two models could be compared. Each says how many those
    are; "miou" and "ap" where they were measured.
    """
    things, stuff = data.categories.things, data.categories.stuff
    groups = summarise(accumulate(evaluation.images.values()), things, stuff)
    answer: dict[str, Any] = {name: result._asdict() for name, result in groups.items()}
    answer["by_size"] = {}
    for size in BOUNDS:
        totals = accumulate(sizes[size] for sizes in evaluation.sizes.values())
        true = {category: counts for category, counts in totals.items() if counts.tp + counts.fn}
        answer["by_size"][size] = summarise(true, things, stuff)["all"]._asdict()
    if evaluation.confusion is not None:
        answer["miou"] = mean_iou(evaluation.confusion)._asdict()
    if evaluation.instances is not None:
        answer["ap"] = evaluation.instances._asdict()
    return answer


def per_image(stats: Mapping[int, ImageStats]) -> dict[str, Any]:
    """Every image's statistics as plain JSON: what any later panoptic score can be made of."""
    return {str(image): image_stats.to_json() for image, image_stats in stats.items()}


def evaluate(
    model: Segmenter,
    data: CocoPanoptic,
    how: Inference,
    on_image: Callable[[int, int], None] = lambda done, total: None,
    export: PanopticWriter | None = None,
    exit: Exit = None,
) -> Evaluation:
    """Score `model` on every image of `data`; `on_image(done, total)` after each, `export` takes each prediction.

    `exit`: of an early-exit encoder, by default its deepest: a gate of fresh weights would leave anywhere. Raises
    InputError for "gate" and an encoder that has none.
    """
    model.eval()
    exits = exits_of(model.encoder)
    if exit == "gate" and not exits:
        raise InputError(f"exit='gate' and {type(model.encoder).__name__}, which has none; expected early_exit")
    deepest = max(exits, default=None)
    layer = None if exit == "gate" else deepest if exit is None else exit
    things, classes = data.categories.things, len(data.categories)
    images: dict[int, ImageStats] = {}
    sizes: dict[int, dict[str, ImageStats]] = {}
    left: dict[int, int] = {}
    confusion = np.zeros((classes, classes), dtype=np.int64)
    instances = InstanceScorer(things)
    for i in range(len(data)):
        sample = data[i]
        truth = PanopticMap(sample.id_map, sample.segments)
        found = predict(model, sample, things, how, layer)
        outcomes = match_segments(truth, found.panoptic)
        images[sample.image_id], sizes[sample.image_id] = tally(outcomes), by_size(outcomes)
        if found.exit is not None:
            left[sample.image_id] = found.exit
        if found.semantic is not None:
            confusion += confusion_matrix(truth, found.semantic, classes)
        if found.instances is not None:
            instances.add(truth, found.instances.scores, found.instances.classes, found.instances.masks)
        if export is not None:
            export.add(sample.own_id, sample.file_name, found.panoptic)
        on_image(i + 1, len(data))
    return Evaluation(
        images,
        sizes,
        confusion if how.semantic else None,
        instances.average_precision() if how.instances else None,
        left,
    )

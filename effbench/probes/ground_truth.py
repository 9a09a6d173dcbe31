"""Score a data set's ground truth against itself: PQ is 100 where reader and metric are right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from effbench.data.coco_panoptic import CocoPanoptic
from effbench.data.roots import open_split
from effbench.probes.base import Context, Measurement, needs_nothing
from effbench.quality import PanopticMap, by_size, match_segments, tally
from effbench.study.cell import Cell
from effbench.training.evaluate import Evaluation, per_image, scores

NAME = "ground_truth"
VERSION = "2"
INSIDE = "panoptic quality of the ground truth scored against itself"
missing = needs_nothing


def measure(cell: Cell, context: Context) -> Measurement:
    """PQ in percent of the ground truth, crowds left out of the prediction, against the ground truth.

    `options["images"]` limits how many images of a data root are read.
    """
    data = _open(context.inputs, cell.options.get("images"))
    images, sizes = {}, {}
    for i in range(len(data)):
        sample = data[i]
        ids = sample.id_map.clone()
        segments = [s for s in sample.segments if not s.iscrowd]
        for crowd in (s for s in sample.segments if s.iscrowd):
            ids[ids == crowd.id] = 0  # a crowd is no segment that anyone could predict
        outcomes = match_segments(PanopticMap(sample.id_map, sample.segments), PanopticMap(ids, segments))
        images[sample.image_id], sizes[sample.image_id] = tally(outcomes), by_size(outcomes)
        context.report(done=i + 1, total=len(data))
    detail = {**scores(Evaluation(images, sizes), data), "per_image": per_image(images)}
    return Measurement([detail["all"]["pq"]], "%", detail)


def _open(inputs: Mapping[str, str], limit: int | None) -> CocoPanoptic:
    if "data_root" in inputs:
        return open_split(inputs["data_root"], "val", limit)
    sample = Path(inputs["panoptic_sample"])  # the layout of panopticapi's sample_data
    return CocoPanoptic.from_files(
        sample / "input_images", sample / "panoptic_examples", sample / "panoptic_examples.json"
    )

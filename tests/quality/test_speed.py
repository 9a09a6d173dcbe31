"""How fast an image is scored, beside the released evaluator where that is installed."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from effbench.quality import PanopticMap, SegmentInfo, image_stats

SEGMENTS, CATEGORIES = 15, 5


@pytest.fixture
def pair() -> tuple[PanopticMap, PanopticMap]:
    """480x640 pixels, 15 segments with wavy borders, wide ids in the truth, a prediction that mostly agrees."""
    rng = np.random.default_rng(0)
    centres = rng.random((SEGMENTS, 2)) * [480, 640]

    def regions(points: Any) -> Any:
        y, x = np.mgrid[:480, :640] + 60 * gaussian_filter(rng.normal(size=(2, 480, 640)), (0, 4, 4))
        return np.argmin([(y - a) ** 2 + (x - b) ** 2 for a, b in points], axis=0)

    ids = 1 + rng.choice(2**24 - 1, SEGMENTS, replace=False)
    truth = ids[regions(centres)].astype(np.int32)
    truth[:20] = 0
    predicted = (1 + regions(centres + rng.normal(0, 8, centres.shape))).astype(np.int32)
    categories = rng.integers(1, CATEGORIES + 1, SEGMENTS).tolist()
    tables = ([SegmentInfo(int(id_), c) for id_, c in zip(names, categories, strict=True)] for names in
              (ids, range(1, SEGMENTS + 1)))  # fmt: skip
    return PanopticMap(truth, next(tables)), PanopticMap(predicted, next(tables))


def median_time(run: Callable[[], object], times: int) -> float:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        samples.append(time.perf_counter() - began)
    return float(np.median(samples))


def test_the_cost_is_that_of_a_few_passes_over_the_pixels(pair: tuple[PanopticMap, PanopticMap]) -> None:
    """Compared with four passes by numpy in the same minute, since machines and their load differ."""
    truth = np.asarray(pair[0].id_map)
    passes = 4 * min(median_time(lambda: truth != truth.T.reshape(truth.shape), 20) for _ in range(3))
    assert min(median_time(lambda: image_stats(*pair), 20) for _ in range(3)) < 5 * passes


def test_beside_panopticapi(pair: tuple[PanopticMap, PanopticMap], monkeypatch: pytest.MonkeyPatch) -> None:
    """From id maps in memory: its reading of files and its conversion of colours are taken out."""
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi is not installed")
    maps = {"truth": pair[0], "prediction": pair[1]}
    in_memory = {f"{name}/": np.asarray(m.id_map).astype(np.uint32) for name, m in maps.items()}

    class Opened:
        open = staticmethod(in_memory.__getitem__)

    monkeypatch.setattr(evaluation, "Image", Opened)
    monkeypatch.setattr(evaluation, "rgb2id", lambda ids: ids)
    annotations = tuple(
        {
            "image_id": 1,
            "file_name": "",
            "segments_info": [
                {"id": s.id, "category_id": s.category, "iscrowd": 0, "area": int((np.asarray(m.id_map) == s.id).sum())}
                for s in m.segments
            ],
        }
        for m in maps.values()
    )
    categories: dict[int, dict[str, Any]] = {c: {} for c in range(1, CATEGORIES + 1)}

    def referee() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return evaluation.pq_compute_single_core(0, [annotations], "truth", "prediction", categories)

    theirs = {c: [s.iou, s.tp, s.fp, s.fn] for c, s in referee().pq_per_cat.items() if s.tp + s.fp + s.fn}
    ours = json.loads(json.dumps(image_stats(*pair).to_json()))
    assert {int(c): pytest.approx(counts) for c, counts in ours.items()} == theirs
    ratio = median_time(referee, 30) / median_time(lambda: image_stats(*pair), 60)
    print(f"panopticapi takes {ratio:.1f} times as long")
    assert ratio > 3

"""PQ against numbers that the released evaluator gave, kept here because it is not on the package index.

Source: panopticapi at commit 7bb4655548f98f3fedc07bf37e9040a992b054b0, `pq_compute_single_core`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from effbench.data.coco_panoptic import Categories, Category
from effbench.quality import (
    PanopticMap,
    PanopticWriter,
    SegmentInfo,
    accumulate,
    image_stats,
    match_segments,
    summarise,
)

NAMES = {1: "person", 3: "car", 17: "cat", 92: "banner", 184: "tree"}
CATEGORIES = Categories(tuple(Category(id_, name, id_ < 90, (id_, 0, 0)) for id_, name in NAMES.items()))

# category id: PQ, SQ, RQ
PER_CLASS = {
    1: (0.2709957683958117, 0.7377107028552652, 0.3673469387755102),
    3: (0.2705378690638368, 0.7101619062925717, 0.38095238095238093),
    17: (0.35828994642526973, 0.6382039670700117, 0.5614035087719298),
    92: (0.1683287545787546, 0.6733150183150184, 0.25),
    184: (0.38427169384724563, 0.7205094259635856, 0.5333333333333333),
}
# PQ, SQ, RQ and the number of categories
GROUPS = {
    "all": (0.2904848064621837, 0.6959802040992906, 0.41860723236663083, 5),
    "things": (0.2999411946283061, 0.6953588587392829, 0.4365676094999403, 3),
    "stuff": (0.2763002242130001, 0.696912222139302, 0.39166666666666666, 2),
}


def pairs() -> list[tuple[PanopticMap, PanopticMap]]:
    """Ground truth with void and crowds, and predictions that agree with most of it."""
    rng = np.random.RandomState(2018)  # its stream is frozen, which a Generator's is not

    def names(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Ids up to 2^24, 0 first."""
        return np.append(0, 1 + rng.permutation(2**12)[:count] * (2**12 - 1))

    made = []
    for _ in range(12):
        cells = rng.randint(0, 14, size=(6, 8))
        truth = np.kron(cells, np.ones((8, 8), int))
        category, crowd = rng.randint(0, 5, size=14), rng.rand(14) < 0.2
        noisy = np.where(rng.rand(6, 8) < 0.15, rng.randint(0, 14, size=(6, 8)), cells)
        predicted = np.roll(np.kron(noisy, np.ones((8, 8), int)), rng.randint(0, 3, size=2), axis=(0, 1))
        guess = np.where(rng.rand(14) < 0.85, category, rng.randint(0, 5, size=14))
        tables = []
        for index, classes, crowds in ((truth, category, crowd), (predicted, guess, np.zeros(14, bool))):
            ids = names(13)
            rows = [SegmentInfo(int(ids[i]), int(classes[i]), bool(crowds[i])) for i in np.unique(index) if i]
            tables.append(PanopticMap(ids[index], rows))
        made.append((tables[0], tables[1]))
    return made


def test_the_kept_pairs_reach_every_rule() -> None:
    made = pairs()
    totals = accumulate(image_stats(*pair) for pair in made)
    assert totals.keys() == set(range(5))
    assert all(min(t.tp, t.fp, t.fn) > 2 for t in totals.values())
    ignored = sum(len(found.segments) for _, found in made) - sum(t.tp + t.fp for t in totals.values())
    assert ignored > 5, "predictions on void and crowds"
    assert sum(s.iscrowd for truth, _ in made for s in truth.segments) > 10
    assert any(len({o.category for o in match_segments(*pair)}) == 5 for pair in made)


def test_equals_the_numbers_that_panopticapi_gave() -> None:
    totals = accumulate(image_stats(*pair) for pair in pairs())
    found = {CATEGORIES[c].id: (t.pq / 100, t.sq / 100, t.rq / 100) for c, t in totals.items()}
    assert found.keys() == PER_CLASS.keys()
    for id_, expected in PER_CLASS.items():
        assert found[id_] == pytest.approx(expected, rel=0, abs=1e-9)
    groups = summarise(totals, CATEGORIES.things, CATEGORIES.stuff)
    for name, (pq, sq, rq, categories) in groups.items():
        assert (pq / 100, sq / 100, rq / 100, categories) == pytest.approx(GROUPS[name], rel=0, abs=1e-9)


def test_panopticapi_gives_them_on_what_is_exported(tmp_path: Path) -> None:
    evaluation = pytest.importorskip(
        "panopticapi.evaluation",
        reason="the referee is not on the package index: pip install git+https://github.com/cocodataset/panopticapi",
    )
    annotations = []
    for which, name in enumerate(("truth", "prediction")):
        with PanopticWriter(tmp_path / name, CATEGORIES) as writer:
            for image_id, pair in enumerate(pairs()):
                writer.add(image_id, f"{image_id}.jpg", pair[which])
        content = json.loads((tmp_path / name / "panoptic.json").read_text())
        annotations.append(content["annotations"])
    categories = {row["id"]: row for row in content["categories"]}
    folders = [str(tmp_path / name / "panoptic") for name in ("truth", "prediction")]
    stat = evaluation.pq_compute_single_core(0, list(zip(*annotations, strict=True)), *folders, categories)
    for name, isthing in (("all", None), ("things", True), ("stuff", False)):
        group, per_class = stat.pq_average(categories, isthing)
        assert tuple(group[key] for key in ("pq", "sq", "rq", "n")) == pytest.approx(GROUPS[name], rel=0, abs=1e-9)
        for id_, one in per_class.items():
            assert (one["pq"], one["sq"], one["rq"]) == pytest.approx(PER_CLASS[id_], rel=0, abs=1e-9)

"""GFLOPs that the papers print of these systems, at the input that each was really counted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from effbench.study.suite import Published
from effbench.suites import systems

FIRST_30, FIRST_100 = "coco:first30", "coco:first100"
CITYSCAPES_SIZE = "1024x2048"

M2F, LITE, RT = systems.BASELINE.label, systems.LITE.label, systems.RT_FUSED.label
P111, P222, P333 = systems.P111.label, systems.P222.label, systems.P333.label

Rows = Mapping[str, tuple[float, float]]
"""system -> GFLOPs of the encoder, and in all."""


def _rows(source: str, backbone: str, size: str, rows: Rows) -> Iterator[Published]:
    for system, (encoder, total) in rows.items():
        yield Published(system, backbone, size, "gmacs_encoder", encoder, source)
        yield Published(system, backbone, size, "gmacs_total", total, source)


# PRO-SCALE counted M2F and its own Swin-T rows on the first 100 images of val2017, everything else on the first 30,
# the encoder always on the last of them. ECO-M2F averaged all 5,000 for Swin-T; its R50 row repeats PRO-SCALE's.
COCO = (
    *_rows(
        "PRO-SCALE, Table 1",
        "r50",
        FIRST_30,
        {M2F: (135.00, 229.10), P111: (30.25, 131.40), P222: (48.85, 148.80), P333: (67.45, 166.10)},
    ),
    *_rows(
        "PRO-SCALE, Table 1",
        "swin_t",
        FIRST_100,
        {M2F: (117.00, 234.50), P111: (22.89, 137.10), P222: (39.53, 154.40), P333: (56.18, 171.70)},
    ),
    *_rows("PRO-SCALE, Table 1", "swin_t", FIRST_30, {LITE: (79.78, 188.00), RT: (59.66, 158.30)}),
    *_rows("ECO-M2F, Table 1", "swin_t", "coco", {M2F: (121.69, 235.57)}),
)

CITYSCAPES = (
    *_rows(
        "PRO-SCALE, Table 2",
        "r50",
        CITYSCAPES_SIZE,
        {M2F: (291.00, 524.10), P111: (65.21, 298.10), P222: (105.00, 338.20), P333: (145.00, 378.30)},
    ),
    *_rows(
        "PRO-SCALE, Table 2",
        "swin_t",
        CITYSCAPES_SIZE,
        {
            M2F: (281.00, 537.80),
            LITE: (172.00, 428.70),
            RT: (130.00, 361.10),
            P111: (55.14, 311.90),
            P222: (95.24, 352.00),
            P333: (135.00, 392.10),
        },
    ),
    *_rows("ECO-M2F, Table 2", "swin_t", CITYSCAPES_SIZE, {M2F: (281.13, 537.85), LITE: (172.00, 428.71)}),
)

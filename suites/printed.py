"""GFLOPs that the papers print of these systems, at the input that each was really counted on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from effbench.study.suite import Published, System
from effbench.suites.systems import (
    BASELINE,
    LITE,
    LITE_LPE,
    P111,
    P222,
    P333,
    RT,
    RT_FUSED_NO_CONV,
    WITHOUT_RES2,
)

FIRST_30, FIRST_100 = "coco:first30", "coco:first100"
CITYSCAPES_SIZE = "1024x2048"

Rows = Mapping[System, tuple[float, float]]
"""system -> GFLOPs of the encoder, and in all."""


def _rows(source: str, backbone: str, size: str, rows: Rows) -> Iterator[Published]:
    for system, (encoder, total) in rows.items():
        yield Published(system.label, backbone, size, "gmacs_encoder", encoder, source)
        yield Published(system.label, backbone, size, "gmacs_total", total, source)


# PRO-SCALE counted M2F and its own Swin-T rows on the first 100 images of val2017, everything else on the first 30,
# the encoder always on the last of them. ECO-M2F averaged all 5,000; its Table 1 repeats PRO-SCALE's R50 row.
COCO = (
    *_rows(
        "PRO-SCALE, Table 1",
        "r50",
        FIRST_30,
        {BASELINE: (135.00, 229.10), P111: (30.25, 131.40), P222: (48.85, 148.80), P333: (67.45, 166.10)},
    ),
    *_rows(
        "PRO-SCALE, Table 1",
        "swin_t",
        FIRST_100,
        {BASELINE: (117.00, 234.50), P111: (22.89, 137.10), P222: (39.53, 154.40), P333: (56.18, 171.70)},
    ),
    *_rows(
        "PRO-SCALE, Table 1",
        "swin_t",
        FIRST_30,
        {LITE: (79.78, 188.00), RT: (59.66, 158.30), RT_FUSED_NO_CONV: (59.66, 158.30)},
    ),
    *_rows("PRO-SCALE, Table 4", "swin_t", FIRST_30, {LITE_LPE: (43.92, 154.60)}),
    *_rows("ECO-M2F, Table 1", "swin_t", "coco", {BASELINE: (121.69, 235.57)}),
    *_rows("ECO-M2F, Table 8", "r50", "coco", {BASELINE: (126.05, 229.41)}),
)

# Of several rows on one system, the last one stands in the main table.
CITYSCAPES = (
    *_rows("ECO-M2F, Table 2", "r50", CITYSCAPES_SIZE, {BASELINE: (281.13, 524.11)}),
    *_rows(
        "PRO-SCALE, Table 2",
        "r50",
        CITYSCAPES_SIZE,
        {BASELINE: (291.00, 524.10), P111: (65.21, 298.10), P222: (105.00, 338.20), P333: (145.00, 378.30)},
    ),
    *_rows(
        "PRO-SCALE, Table 2",
        "swin_t",
        CITYSCAPES_SIZE,
        {
            BASELINE: (281.00, 537.80),
            LITE: (172.00, 428.70),
            P111: (55.14, 311.90),
            P222: (95.24, 352.00),
            P333: (135.00, 392.10),
            RT: (130.00, 361.10),
            RT_FUSED_NO_CONV: (130.00, 361.10),
        },
    ),
    Published(WITHOUT_RES2.label, "swin_t", CITYSCAPES_SIZE, "gmacs_encoder", 132.00, "PRO-SCALE, Table 3, row C1"),
    *_rows("PRO-SCALE, Table 4", "swin_t", CITYSCAPES_SIZE, {LITE_LPE: (94.69, 351.40)}),
    *_rows("ECO-M2F, Table 2", "swin_t", CITYSCAPES_SIZE, {BASELINE: (281.13, 537.85), LITE: (172.00, 428.71)}),
)

RT_REMARK = (
    "RT-M2F: no code was released, and the papers do not say how its encoder was built. Its printed encoder fits fused "
    "branches without the 3x3 output convolution; its printed total is {gap} GMACs below that encoder's, which nothing "
    "in print explains."
)
COCO_REMARKS = (RT_REMARK.format(gap="10.9"),)
CITYSCAPES_REMARKS = (
    RT_REMARK.format(gap="25.2"),
    "PRO-SCALE, Table 3: the GFLOPs of rows C1 and C2 look swapped. Six layers over all tokens alone cost more than "
    "132, and 132.45 is PRO-SCALE (1,1,1) with the 3x3 convolution, which is C2.",
    "ECO-M2F, Table 2, prints Swin-T's encoder (281.13) in the R50 row; its total there is R50's.",
)

MEAN_EXIT = "gmacs_encoder_gated"
"""Metric of an encoder's GFLOPs over images that left it at different exits: it says how deep they went."""


def _gated(base: str, size: str, rows: Mapping[tuple[str, str], float]) -> Iterator[Published]:
    system = f"early_exit(base={base})"
    for (backbone, source), encoder in rows.items():
        yield Published(system, backbone, size, MEAN_EXIT, encoder, f"ECO-M2F, {source}")


GATED = (
    *_gated(
        "mask2former",
        "coco",
        {
            ("swin_t", "Table 3, beta 0"): 107.18,
            ("swin_t", "Tables 1, 3, 4, 6, beta 0.0005"): 88.47,
            ("swin_t", "Table 3, beta 0.001"): 79.18,
            ("swin_t", "Tables 1, 3, beta 0.02"): 67.71,
            ("swin_t", "Table 4, K 5"): 94.59,
            ("swin_t", "Table 4, K 4"): 88.65,
            ("swin_s", "Table 6"): 81.05,
            ("swin_b", "Table 6"): 76.50,
            ("r50", "Table 1"): 92.37,
            ("swin_t", "Table 8, MoBY weights"): 89.64,
            ("r50", "Table 8, DINO weights"): 88.50,
            ("swin_t", "Table T2, u-CE"): 94.06,
            ("swin_t", "Table T2, soft-CE"): 87.85,
            ("swin_t", "Table T2, soft-MSE"): 84.53,
        },
    ),
    *_gated(
        "mask2former",
        CITYSCAPES_SIZE,
        {
            ("swin_t", "Table 3, beta 0"): 279.37,
            ("swin_t", "Tables 2, 3, 6, beta 0.003"): 250.80,
            ("swin_t", "Table 3, beta 0.005"): 212.66,
            ("swin_t", "Tables 2, 3, beta 0.01"): 182.95,
            ("swin_t", "Table 3, beta 0.1"): 155.26,
            ("swin_s", "Table 6"): 222.22,
            ("swin_b", "Table 6"): 216.69,
            ("r50", "Table 2"): 220.59,
        },
    ),
    *_gated(
        "lite",
        "coco",
        {("swin_t", "Tables 1, T1"): 64.42, ("swin_s", "Table T1"): 63.96},
    ),
    *_gated(
        "lite",
        CITYSCAPES_SIZE,
        {("swin_t", "Tables 2, T1"): 156.17, ("swin_s", "Table T1"): 145.66, ("swin_b", "Table T1"): 153.11},
    ),
)
GATED_REMARKS = (
    "Table 1's R50 row of ECO-M2F and Lite's COCO rows stand beside costs that PRO-SCALE counted on 30 images; which "
    "images these rows were counted on is not said.",
)

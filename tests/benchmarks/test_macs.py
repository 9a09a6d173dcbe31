"""The MAC table of one system: what counting costs, and what it counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from effbench.models.segmenter import build_segmenter
from effbench.probes.mac_sizes import size_protocol
from effbench.probes.macs import count

pytestmark = pytest.mark.benchmark


def test_table_of_one_system(benchmark: Any) -> None:
    def table() -> dict[str, dict[str, float]]:
        with torch.device("meta"):
            model = build_segmenter("proscale", "r50", num_classes=19, num_queries=100, p=(1, 1, 1))
        return count(model, size_protocol("cityscapes"), queries=100, classes=19)

    counted = benchmark.pedantic(table, rounds=3, warmup_rounds=1)
    benchmark.extra_info["counts"] = {"MAC": counted["papers"]["total"]}

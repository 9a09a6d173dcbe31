"""One process of an A/A run: `python -m effbench.study.aa_worker JOB`, where JOB is JSON.

It imports the one encoder and little else of effbench, so that a fresh process costs little more than importing torch.
Prints one JSON object: the samples, the warm-up, and which implementation ran.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from typing import Any

import torch
from torch import Tensor

from effbench.encoders.contract import Encoder, FeatureSpec
from effbench.probes.clocks import synchronise
from effbench.study.cell import tuples

FEATURES = {f"res{i + 2}": FeatureSpec(32 * 2**i, 4 * 2**i) for i in range(4)}
"""A narrow pyramid: 32 to 256 channels."""
BLOCK, LEAST_BLOCKS, MOST_BLOCKS, FLAT = 20, 2, 10, 0.05
"""The warm-up: blocks of so many forwards, until the medians of the last two are within 5%."""


def main() -> None:
    """Run the job in the first argument."""
    print(json.dumps(measure(json.loads(sys.argv[1]))))


@torch.inference_mode()
def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Samples in seconds, each of one forward: short ones, so that most fit between two interruptions.

    After each forward the process is busy for the share `slower` of what the forward took.
    """
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    height, width = job["size"]
    encoder_class = getattr(importlib.import_module(job["module"]), job["class"])
    with torch.device(job["device"]):
        encoder = encoder_class(FEATURES, **{name: tuples(value) for name, value in job["settings"].items()}).eval()
        pyramid = {
            name: torch.randn(1, spec.channels, height // spec.stride, width // spec.stride)
            for name, spec in FEATURES.items()
        }
    warm_up: list[float] = []
    while len(warm_up) < MOST_BLOCKS and not (len(warm_up) >= LEAST_BLOCKS and _flat(warm_up[-2:])):
        warm_up.append(statistics.median(_time(encoder, pyramid) for _ in range(BLOCK)))
    samples = [_time(encoder, pyramid, job["slower"]) for _ in range(job["samples"])]
    return {"samples": samples, "warm_up": warm_up, "implementation": encoder.implementation()}


def _flat(times: list[float]) -> bool:
    return max(times) - min(times) < FLAT * statistics.mean(times)


def _time(encoder: Encoder, pyramid: dict[str, Tensor], slower: float = 0.0) -> float:
    device = pyramid["res5"].device
    synchronise(device)
    start = time.perf_counter()
    encoder(pyramid)
    synchronise(device)
    end = time.perf_counter()
    until = end + slower * (end - start)
    while end < until:
        end = time.perf_counter()
    return end - start


if __name__ == "__main__":
    main()

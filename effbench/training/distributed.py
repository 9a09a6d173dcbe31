"""Training in several processes under torchrun: each takes its share of every batch, gradients are averaged.

    torchrun --nproc-per-node 2 -m effbench.cli train ...

Outside torchrun there is one process, and nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from effbench.errors import InputError


@dataclass(frozen=True)
class World:
    """This process's place among those that train together; `local` is its place on its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0


def world() -> World:
    """The place of this process; alone where no process group was made."""
    if not (dist.is_available() and dist.is_initialized()):
        return World()
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """Join the processes that torchrun started, over NCCL on "cuda" and gloo on "cpu"; alone outside torchrun.

    Raises InputError for "cuda" without a device for this process.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise InputError(
                f"process {local} has no CUDA device, this machine has {torch.cuda.device_count()}; "
                "start as many processes as there are devices, or name --device cpu"
            )
        torch.cuda.set_device(local)
    if not several:
        yield World()
        return
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    yield world()
    # Not after an error: it would wait for the others, who wait for this process. Its end is what ends them.
    dist.destroy_process_group()


def mean_over_processes(count: int, device: torch.device) -> float:
    """The mean of `count` over the processes: what a sum of losses is divided by, so that averaged gradients are those
    of one process with the whole batch."""
    if world().size == 1:
        return float(count)
    total = torch.tensor(float(count), device=device)
    dist.all_reduce(total)
    return float(total) / world().size


def wait_for_all() -> None:
    """Go on when every process is here."""
    if world().size > 1:
        dist.barrier()

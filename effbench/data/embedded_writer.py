"""Thousands of images on disk, by several processes, and going on where a killed run has stopped.

It knows nothing of what an image shows, so that the embedded set's fingerprint can leave it out.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

from effbench.files import replacing
from effbench.processes import end_with_parent

Progress = Callable[[int, int], None]
Write = Callable[[str, int], Any]
CHUNK = 100
"""Images that a process makes at a time; a killed run has made as many in vain, per process."""
FEW = 200
"""Fewer images than this are made here: that takes no longer than to start a process."""


class Chunk(NamedTuple):
    """Consecutive images of one split, and the JSON file that says that they are made."""

    split: str
    images: range
    file: Path


def write_images(
    write: Write, counts: Mapping[str, int], folder: Path, workers: int = 1, progress: Progress | None = None
) -> dict[str, list[Any]]:
    """Calls `write(split, index)` for all images; returns what it answered, split -> a list in the images' order.

    write: writes one image whole, over a torn one too, and answers plain JSON; with several processes it is pickled.
    counts: images per split. folder: keeps the answers of what is made, which a later call does not make again.
    workers: processes; 1 or few images: this one. progress: called with (images done, images in all).

    Raises what `write` raises, and InputError when the answers cannot be kept.
    """
    chunks = [
        Chunk(split, images, folder / f"{split}-{images.start:06d}-{images.stop:06d}.json")
        for split, count in counts.items()
        for images in (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
    ]
    missing = [chunk for chunk in chunks if not chunk.file.exists()]
    total, left = (sum(len(chunk.images) for chunk in some) for some in (chunks, missing))
    done = total - left

    def report(images: int) -> None:
        nonlocal done
        done += images
        if progress is not None:
            progress(done, total)

    if done:
        report(0)
    if workers > 1 and left >= FEW:
        _in_processes(write, missing, min(workers, len(missing)), report)
    else:
        for chunk in missing:
            _write_chunk(write, chunk, report)
    answers: dict[str, list[Any]] = {split: [] for split in counts}
    for chunk in chunks:
        answers[chunk.split] += json.loads(chunk.file.read_bytes())
    return answers


def _write_chunk(write: Write, chunk: Chunk, report: Callable[[int], None] = lambda images: None) -> int:
    """How many images it has."""
    answers = []
    for index in chunk.images:
        answers.append(write(chunk.split, index))
        report(1)
    with replacing(chunk.file) as file:
        file.write(json.dumps(answers).encode())
    return len(chunk.images)


def _in_processes(write: Write, chunks: list[Chunk], workers: int, report: Callable[[int], None]) -> None:
    # Not forked from here: a thread that holds a lock at that moment would leave it locked for ever.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["effbench.data.embedded"])  # imported once, not by every process
    pool = ProcessPoolExecutor(workers, context, initializer=_start)
    try:
        for made in as_completed([pool.submit(_write_chunk, write, chunk) for chunk in chunks]):
            report(made.result())
    finally:
        # Nobody writes any more when the caller lets go of the folder; chunks that are begun are ended, and kept.
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Has a process that makes images end with its caller, and by nothing else that a terminal sends to both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()

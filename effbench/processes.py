"""What a process that computes for another one must do: end with it."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this process as soon as the one that started it does, by a kill, too.

    Under a fork server the system's parent is the server, which outlives who asked for the process.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of multiprocessing has a parent"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

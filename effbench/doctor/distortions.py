"""What would distort a timing on this machine: other work, clocks, threads, memory, quotas. Linux tells most of it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from effbench.doctor.files import read, sizes
from effbench.doctor.gpu import gpu_distortions
from effbench.probes.neighbours import CpuLoad

GIB = 2**30
BUSY_CORES = 0.1
"""Cores that others may keep busy before it is called a distortion."""
SWAPPED = 64 * 2**20
LOW_MEMORY = 0.1
MEMORY_STALL = 1.0
"""Percent of the last ten seconds in which something waited for memory (pressure stall information)."""


@dataclass(frozen=True)
class Finding:
    """One thing that can distort a timing: how it stands, and how to mend it where that is not "ok"."""

    subject: str
    status: Literal["ok", "warning", "unknown"]
    found: str
    mend: str = ""


def examine(root: Path = Path("/"), seconds: float = 1.0) -> list[Finding]:
    """Every distortion; the use of the CPU is watched for so many seconds. `root` is where /proc and /sys lie."""
    load, before, began = CpuLoad(), _seconds_used(root), time.perf_counter()
    time.sleep(seconds)
    wall = time.perf_counter() - began
    used = {pid: (name, (s - before.get(pid, (name, 0.0))[1]) / wall) for pid, (name, s) in _seconds_used(root).items()}
    used.pop(os.getpid(), None)
    cpus = _allowed_cpus()
    limit = _quota(root)
    return [
        other_work(load.to_json(), used),
        governor(root, cpus),
        threads(root, cpus, torch.get_num_threads(), limit),
        quota(root, limit, len(cpus)),
        swap(root),
        memory(root),
        *(Finding(*found) for found in gpu_distortions()),
    ]


def _unreadable(subject: str, what: str, mend: str) -> Finding:
    return Finding(subject, "unknown", f"{platform.system()} does not show {what} here", mend)


def other_work(load: Mapping[str, float | None], used: Mapping[int, tuple[str, float]]) -> Finding:
    """From `CpuLoad.to_json` and process -> (name, cores that it kept busy)."""
    others, stolen, average = (load[name] for name in ("other_cores", "stolen_cores", "load_average"))
    if others is None:
        found = f"load average {average:.2f}; the system does not show what other processes use"
        return Finding("other processes", "unknown", found, "look with top, and end what computes")
    busiest = sorted(((cores, name, pid) for pid, (name, cores) in used.items() if cores > 0.05), reverse=True)[:3]
    names = ", ".join(f"{name} (process {pid}) {cores:.2f}" for cores, name, pid in busiest)
    found = f"others keep {others:.2f} cores busy" + (f": {names}" if names else "")
    if stolen and stolen > BUSY_CORES:
        found += f"; the hypervisor takes {stolen:.2f} cores for other machines"
        return Finding("other processes", "warning", found, "time on a machine of your own, or when it is quiet")
    if others > BUSY_CORES:
        mend = "end them or wait" if names else "they are outside this container: time when the host is quiet"
        return Finding("other processes", "warning", found, mend)
    return Finding("other processes", "ok", found)


def _seconds_used(root: Path) -> dict[int, tuple[str, float]]:
    """Process -> (name, CPU seconds), of all that this one may see."""
    found = {}
    for path in (root / "proc").glob("[0-9]*/stat"):
        # pid (name) state ppid ... utime stime: the name may hold spaces and parentheses, proc(5)
        head, _, tail = (read(path) or "").rpartition(")")
        fields = tail.split()
        if len(fields) > 12:
            ticks = int(fields[11]) + int(fields[12])
            found[int(path.parent.name)] = (head.partition("(")[2], ticks / os.sysconf("SC_CLK_TCK"))
    return found


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def governor(root: Path, cpus: Iterable[int]) -> Finding:
    """Whether the CPUs change their frequency with the load."""
    folder = root / "sys/devices/system/cpu"
    names = {name for cpu in cpus if (name := read(folder / f"cpu{cpu}/cpufreq/scaling_governor"))}
    mend = "sudo cpupower frequency-set -g performance"
    if not names:
        return _unreadable("frequency governor", "it", f"on the machine itself (a virtual one's host): {mend}")
    found = ", ".join(sorted(names))
    return (
        Finding("frequency governor", "ok", found)
        if names == {"performance"}
        else Finding("frequency governor", "warning", f"{found}: the frequency follows the load", mend)
    )


def threads(root: Path, cpus: Iterable[int], number: int, limit: float | None = None) -> Finding:
    """Whether PyTorch's threads have a core each."""
    folder, allowed = root / "sys/devices/system/cpu", sorted(cpus)
    siblings = {read(folder / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in allowed}
    cores = min(len(siblings), max(1, int(limit))) if limit else len(siblings)
    found = f"{number} of PyTorch on {cores} cores" + (
        f" ({len(allowed)} hardware threads)" if len(allowed) != len(siblings) else ""
    )
    if number > cores:
        return Finding("threads", "warning", f"{found}: they wait for each other", f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", "ok", found)


def quota(root: Path, limit: float | None, cpus: int) -> Finding:
    """Whether a control group (a container's) lets this process run only part of the time."""
    if read(root / "proc/self/cgroup") is None:
        return _unreadable("CPU quota", "control groups", "start the container without --cpus, if it is one")
    where = "container" if _in_container(root) else "control group"
    if limit is None:
        return Finding("CPU quota", "ok", "none" + (", in a container" if where == "container" else ""))
    mend = "start the container without --cpus, with whole cores instead: --cpuset-cpus=0-3"
    return Finding(
        "CPU quota", "warning", f"{limit:g} of {cpus} cores: this {where} is halted when they are used up", mend
    )


def _in_container(root: Path) -> bool:
    return any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))


def _quota(root: Path) -> float | None:
    """Cores' worth of time, the least of this process's control groups and those above; None without a quota."""
    limits = []
    for line in (read(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            mounts = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu"]
        else:
            continue
        inside = Path(path.lstrip("/"))
        # a container sees its own group as the top one
        groups = {root / mount / above for mount in mounts for above in (inside, *inside.parents)}
        limits += [limit for group in groups if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def _limit(group: Path) -> float | None:
    text = read(group / "cpu.max")  # version 2: "quota period" or "max period"
    if text is None:
        numbers = [read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        text = " ".join(number or "" for number in numbers)
    words = text.split()
    if len(words) != 2 or words[0] in ("max", "-1") or not all(word.isdecimal() for word in words):
        return None
    return int(words[0]) / int(words[1])


def swap(root: Path) -> Finding:
    """Whether memory has been moved to disk."""
    known = sizes(root / "proc/meminfo")
    if "SwapTotal" not in known:
        return _unreadable("swap", "it", "look with sysctl vm.swapusage or Activity Monitor, and close programs")
    used = known["SwapTotal"] - known.get("SwapFree", 0)
    found = f"{used / GIB:.2f} of {known['SwapTotal'] / GIB:.2f} GiB used" if known["SwapTotal"] else "none"
    if used > SWAPPED:
        return Finding("swap", "warning", found, "close programs, then: sudo swapoff -a && sudo swapon -a")
    return Finding("swap", "ok", found)


def memory(root: Path) -> Finding:
    """Whether there is memory left, and whether something waits for it."""
    known = sizes(root / "proc/meminfo")
    if "MemAvailable" not in known:
        return _unreadable("memory", "how much is free", "look with Activity Monitor, and close programs")
    share = known["MemAvailable"] / known["MemTotal"]
    found = f"{known['MemAvailable'] / GIB:.1f} of {known['MemTotal'] / GIB:.1f} GiB available"
    stall = _stall(root)
    if stall is not None:
        found += f", waited for in {stall:.1f}% of the last 10 s"
    if share < LOW_MEMORY or (stall or 0.0) > MEMORY_STALL:
        return Finding("memory", "warning", found, "close programs, or choose a smaller batch or size")
    return Finding("memory", "ok", found)


def _stall(root: Path) -> float | None:
    # some avg10=0.00 avg60=0.00 avg300=0.00 total=0
    words = (read(root / "proc/pressure/memory") or "").split()
    return next((float(word.removeprefix("avg10=")) for word in words if word.startswith("avg10=")), None)

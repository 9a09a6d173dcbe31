"""What doctor makes of /proc and /sys, on trees that are made here."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench.doctor import distortions
from effbench.doctor.distortions import Finding, governor, memory, other_work, quota, swap, threads

Tree = Callable[[dict[str, str]], Path]
QUIET = {"other_cores": 0.01, "stolen_cores": 0.0, "load_average": 0.2}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files of a machine, by their paths."""

    def make(files: dict[str, str]) -> Path:
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return tmp_path

    return make


def test_a_quiet_machine_is_ok() -> None:
    assert other_work(QUIET, {7: ("idle", 0.0)}) == Finding("other processes", "ok", "others keep 0.01 cores busy")


def test_busy_processes_are_named_busiest_first() -> None:
    used = {3: ("shell", 0.0), 4: ("browser", 0.3), 5: ("train", 1.9), 6: ("editor", 0.02)}
    finding = other_work({**QUIET, "other_cores": 2.2}, used)
    assert (finding.status, finding.mend) == ("warning", "end them or wait")
    assert finding.found == "others keep 2.20 cores busy: train (process 5) 1.90, browser (process 4) 0.30"


def test_work_outside_the_container_has_no_name() -> None:
    finding = other_work({**QUIET, "other_cores": 1.0}, {})
    assert finding.status == "warning" and "outside this container" in finding.mend


def test_a_hypervisor_that_takes_cores_is_said() -> None:
    finding = other_work({**QUIET, "stolen_cores": 0.4}, {})
    assert finding.status == "warning" and "takes 0.40 cores" in finding.found


def test_what_a_process_uses_is_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            if not Path("/proc/self/stat").exists():
                pytest.skip("the system has no /proc")
            deadline = time.monotonic() + 20
            while (found := distortions._seconds_used(Path("/")).get(burner.pid, ("", 0.0)))[1] < 0.2:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
        finally:
            burner.kill()
    assert found[0].startswith("python")


def test_a_process_name_may_hold_anything(tree: Tree) -> None:
    root = tree({"proc/12/stat": "12 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 300 100 0 0 20 0"})
    seconds = 400 / os.sysconf("SC_CLK_TCK")
    assert distortions._seconds_used(root) == {12: ("a) b (c", seconds)}


@pytest.mark.parametrize(("names", "status"), [(("performance",) * 2, "ok"), (("performance", "powersave"), "warning")])
def test_governor(names: tuple[str, str], status: str, tree: Tree) -> None:
    root = tree({f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": name for i, name in enumerate(names)})
    finding = governor(root, {0, 1})
    assert finding.status == status
    assert ("cpupower" in finding.mend) == (status == "warning")
    assert governor(root, {0}).status == "ok", "a CPU that this process may not use is none of its business"


def test_threads_that_share_a_core_wait_for_each_other(tree: Tree) -> None:
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    root = tree({topology.format(i): f"{i % 2},{i % 2 + 2}" for i in range(4)})
    assert threads(root, range(4), 2) == Finding("threads", "ok", "2 of PyTorch on 2 cores (4 hardware threads)")
    finding = threads(root, range(4), 4)
    assert (finding.status, finding.mend) == ("warning", "export OMP_NUM_THREADS=2")
    assert threads(root, {0, 1}, 2, limit=1.5).mend == "export OMP_NUM_THREADS=1", "the quota counts"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/user/me", "sys/fs/cgroup/user/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/"}, None),
        (
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/docker/x\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
    ],
    ids=["parent", "own", "max", "none", "version 1", "version 1 without"],
)
def test_quota(files: dict[str, str], limit: float | None, tree: Tree) -> None:
    root = tree(files)
    assert distortions._quota(root) == limit
    finding = quota(root, limit, 8)
    assert finding.status == ("ok" if limit is None else "warning")
    if limit is not None:
        assert finding.found.startswith(f"{limit:g} of 8 cores") and "--cpuset-cpus" in finding.mend


def test_a_container_is_said(tree: Tree) -> None:
    root = tree({"proc/self/cgroup": "0::/", ".dockerenv": ""})
    assert quota(root, None, 2).found == "none, in a container"


@pytest.mark.parametrize(("free", "status"), [(1000000, "ok"), (900000, "warning")])
def test_swap(free: int, status: str, tree: Tree) -> None:
    assert swap(tree({"proc/meminfo": f"SwapTotal: 1000000 kB\nSwapFree: {free} kB"})).status == status


@pytest.mark.parametrize(
    ("available", "stall", "status"), [(900, "0.00", "ok"), (50, "0.00", "warning"), (900, "4.20", "warning")]
)
def test_memory(available: int, stall: str, status: str, tree: Tree) -> None:
    root = tree(
        {
            "proc/meminfo": f"MemTotal: 1000 kB\nMemAvailable: {available} kB",
            "proc/pressure/memory": f"some avg10={stall} avg60=9.00 avg300=9.00 total=1\nfull avg10=9.00 total=1",
        }
    )
    finding = memory(root)
    assert finding.status == status and f"waited for in {float(stall):.1f}%" in finding.found


def test_a_system_without_proc_says_what_it_does_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    findings = {finding.subject: finding for finding in distortions.examine(tmp_path, seconds=0)}
    for subject in ("frequency governor", "CPU quota", "swap", "memory"):
        assert findings[subject].status == "unknown"
        assert findings[subject].found.startswith("Darwin does not show") and findings[subject].mend
    nothing = other_work({"other_cores": None, "stolen_cores": None, "load_average": 1.5}, {})
    assert (nothing.status, nothing.found[:17]) == ("unknown", "load average 1.50")

"""The trace of a GPU's clocks, read from an nvidia-smi that a test wrote."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from effbench.probes.clocks import Sample
from effbench.probes.device_trace import FIELDS, SLOWED, DeviceTrace

CUDA = torch.device("cuda")
ROWS = """
[ "$1" = --help-query-gpu ] && echo clocks_event_reasons.active && exit
case "$1" in *clocks_event_reasons.active) ;; *) echo unknown field; exit 1 ;; esac
echo "1980, 2619, 41, 312.5, 0x0000000000000000"
echo "1410, 2619, 88, [N/A], 0x0000000000000040"
exec sleep 60
"""


def wait_for(trace: DeviceTrace, rows: int) -> None:
    until = time.monotonic() + 10
    while len(trace.rows) < rows and time.monotonic() < until:
        time.sleep(0.01)


def test_every_row_is_kept_with_its_time(fake_smi: Callable[[str], None]) -> None:
    fake_smi(ROWS)
    began = time.perf_counter()
    with DeviceTrace(CUDA) as trace:
        wait_for(trace, 2)
    table = trace.to_json(began)
    assert table is not None
    assert list(table) == ["at", *FIELDS]
    assert table["sm_mhz"] == [1980, 1410]
    assert table["power_w"] == [312.5, None], "what the driver does not know is not made up"
    assert table["slowed_by"] == [0, 0x40]
    assert 0 <= table["at"][0] <= table["at"][1] < 10


def test_samples_in_a_slow_moment_are_marked(fake_smi: Callable[[str], None]) -> None:
    trace = DeviceTrace(CUDA)
    fast, slow, idle = [1980.0, 2619.0, 41.0, 300.0, 0.0], [1410.0, 2619.0, 88.0, 300.0, float(0x20)], [0x1]
    trace.rows = [(10.0, fast), (11.0, slow), (12.0, fast), (13.0, [*fast[:4], *map(float, idle)])]
    samples = [Sample(at, 0.3, 0.2) for at in (9.9, 10.7, 11.4, 12.0, 12.9)]
    assert trace.throttled(samples) == [1]
    assert not SLOWED & 0x1, "an idle GPU is not a hot one"


def test_a_driver_is_asked_in_its_own_words(fake_smi: Callable[[str], None]) -> None:
    fake_smi('[ "$1" = --help-query-gpu ] && echo clocks_throttle_reasons.active && exit; echo "$1"')
    with DeviceTrace(CUDA) as trace:
        pass
    (asked,) = trace.rows
    assert len(asked[1]) == len(FIELDS), "as many words as fields"
    fake_smi(ROWS.replace("event", "throttle"))
    with DeviceTrace(CUDA) as trace:
        wait_for(trace, 2)
    assert len(trace.rows) == 2


def test_entering_waits_for_the_first_row(fake_smi: Callable[[str], None]) -> None:
    fake_smi("sleep 0.2" + ROWS)
    with DeviceTrace(CUDA) as trace:
        assert trace.rows


def test_why_a_gpu_has_no_trace_is_said(fake_smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi('echo "NVIDIA-SMI has failed" >&2; exit 9')
    with DeviceTrace(CUDA) as trace:
        pass
    assert trace.to_json(0.0) == {"failed": "NVIDIA-SMI has failed"}
    monkeypatch.setenv("PATH", "")
    with DeviceTrace(CUDA) as trace:
        pass
    assert trace.to_json(0.0) == {"failed": "no nvidia-smi on the path"}


def test_a_cpu_has_no_trace(fake_smi: Callable[[str], None]) -> None:
    fake_smi(ROWS)
    with DeviceTrace(torch.device("cpu")) as trace:
        pass
    assert trace.to_json(0.0) is None

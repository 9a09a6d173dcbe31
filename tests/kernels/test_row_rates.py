"""The kernels of rows alone: the right sums, wide loads and vector additions; else their rates would be no ceilings.

They are interpreted in a process of their own, as Triton reads TRITON_INTERPRET when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.importorskip("triton", reason="Triton is not installed")

    def test_they_are_right_in_the_interpreter() -> None:
        child = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
            env=os.environ | {"TRITON_INTERPRET": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == 0 and " passed" in child.stdout, child.stdout + child.stderr

    @pytest.mark.cuda
    def test_their_rates_on_a_gpu() -> None:
        from effbench.probes.kernel_timing import row_rates

        rates = row_rates(torch.device("cuda"), torch.float32, 32, 2**17)
        assert rates.keys() == {"rows_near", "rows_far", "rows_added"}
        assert rates["rows_near"] > rates["rows_far"] > 0 and rates["rows_added"] > 0

    def test_a_cpu_has_none() -> None:
        from effbench.probes.kernel_timing import row_rates

        assert row_rates(torch.device("cpu"), torch.float32, 32, 64) == {}

else:
    from effbench.kernels.row_rates import BLOCK, add, gather

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_gather_sums_rows(dtype: torch.dtype) -> None:
        table, rows = torch.randn(50, 8).to(dtype), torch.randint(50, (3, 2 * BLOCK), dtype=torch.int32)
        found = gather(table, rows)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, table.float()[rows.long()].sum(0), rtol=0, atol=1e-5)

    def test_an_addition_counts_rows() -> None:
        table, rows = torch.zeros(20, 4), torch.randint(20, (3, BLOCK), dtype=torch.int32)
        add(table, rows)
        assert torch.equal(table, torch.bincount(rows.flatten(), minlength=20)[:, None].expand(-1, 4).float())

    @pytest.mark.parametrize(
        ("width", "count", "dtype"), [(8, BLOCK + 1, torch.int32), (6, BLOCK, torch.int32), (8, BLOCK, torch.int64)]
    )
    def test_what_they_do_not_take(width: int, count: int, dtype: torch.dtype) -> None:
        with pytest.raises(ValueError, match="expected int32, a multiple of 32 of them, and a power of 2"):
            gather(torch.zeros(4, width), torch.zeros(2, count, dtype=dtype))

"""Which device a command computes on: the named one, or what the machine has."""

from __future__ import annotations

import pytest
import torch

from effbench.errors import InputError
from effbench.study.device import checked_device


@pytest.mark.parametrize(("has_cuda", "expected"), [(True, "cuda"), (False, "cpu")])
def test_without_a_name_it_is_the_gpu_where_there_is_one(
    has_cuda: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert checked_device(None) == expected
    assert checked_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("name", "says"),
    [("tpu", "device 'tpu'; expected one of cpu, cuda"), ("cuda", "has no CUDA device; expected cpu here")],
)
def test_what_cannot_be_had_is_refused(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=says):
        checked_device(name)

"""Every profile of every suite, planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from effbench.study.suite import Options, Plan, find_suite


@pytest.fixture(scope="session")
def quick() -> Plan:
    return find_suite("coco").plan(Options())


@pytest.fixture(scope="session")
def coco_smoke(photos: Path) -> Plan:
    return find_suite("coco").plan(Options(data_root=photos))


@pytest.fixture(scope="session")
def costs() -> Plan:
    return find_suite("cityscapes").plan(Options())


@pytest.fixture
def cityscapes_smoke(city_photos: Path) -> Plan:
    return find_suite("cityscapes").plan(Options(data_root=city_photos))


@pytest.fixture(scope="session")
def coco_full() -> Plan:
    return find_suite("coco").plan(Options(profile="full", device="cpu"))


@pytest.fixture(scope="session")
def cityscapes_full() -> Plan:
    return find_suite("cityscapes").plan(Options(profile="full", device="cpu"))


@pytest.fixture(scope="session")
def standard() -> Plan:
    return find_suite("coco").plan(Options(profile="standard", device="cpu"))


@pytest.fixture(params=["coco", "cityscapes"])
def full_on_cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The full profile of both suites where there is a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return find_suite(request.param).plan(Options(profile="full"))


@pytest.fixture(params=["quick", "coco_smoke", "costs", "cityscapes_smoke", "coco_full", "cityscapes_full", "standard"])
def plan(request: pytest.FixtureRequest) -> Plan:
    planned: Plan = request.getfixturevalue(request.param)
    return planned

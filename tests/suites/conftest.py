"""Every profile of every suite, planned."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.fixture(params=["quick", "coco_smoke", "costs", "cityscapes_smoke", "coco_full", "cityscapes_full", "standard"])
def plan(request: pytest.FixtureRequest) -> Plan:
    planned: Plan = request.getfixturevalue(request.param)
    return planned

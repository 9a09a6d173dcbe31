"""What a check is, and how one is run: alone, from fixed seeds, and with nothing left behind for the next one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from effbench.conformance.subject import Subject, preserved

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One promise of the contract.

    Attributes:
        name: what tables and `requires` call it.
        wants: what the contract wants, to stand after "expected".
        mend: what to change in an encoder that fails.
        requires: checks without which this one would blame the encoder for the wrong thing.
        find: what is wrong with a subject, in one line; None when nothing is.
    """

    name: str
    wants: str
    mend: str
    requires: tuple[str, ...]
    find: Callable[[Subject], str | None]


@dataclass(frozen=True)
class Result:
    """How a check went; `found`, `wants` and `mend` are empty when it is ok."""

    check: str
    status: Status
    found: str = ""
    wants: str = ""
    mend: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.status == "failed":
            return f"{self.check}: {self.found}; expected {self.wants}; {self.mend}"
        return f"{self.check}: {self.status}" + (f", {self.found}" if self.found else "")


def check(wants: str, mend: str, requires: tuple[str, ...] = ("runs",)) -> Callable[[Callable[..., str | None]], Check]:
    """Decorator: make a function `(subject) -> what was found, or None` a check under the function's name."""

    def make(find: Callable[..., str | None]) -> Check:
        return Check(find.__name__, wants, mend, requires, find)

    return make


def judge(one: Check, subject: Subject) -> Result:
    """Run one check; whatever the encoder raises is a finding."""
    try:
        with preserved(), seeded():
            found = one.find(subject)
    except Exception as error:
        found = f"raised {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if found is None:
        return Result(one.name, "ok")
    return Result(one.name, "failed", found, one.wants, one.mend)


@contextmanager
def seeded() -> Iterator[None]:
    """Inside, every generator begins anew; afterwards it goes on where it stood."""
    python: Any = random.getstate()
    numpy: Any = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.default_generator.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)

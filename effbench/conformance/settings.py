"""What an encoder promises to whoever builds it: a bad setting is refused, and said."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch

from effbench.conformance.check import check
from effbench.conformance.subject import Subject
from effbench.encoders.contract import Encoder

NONSENSE = "no-such-value"


@check(
    wants="ValueError (SettingError) in one line that names the setting, what it got and what it allows",
    mend="check settings in the constructor with positive, multiple, choice, flag or finite of contract.py",
)
def settings(subject: Subject) -> str | None:
    build: Callable[..., Encoder] = subject.cls
    wrong: list[tuple[str, object]] = [(name, NONSENSE) for name in subject.defaults]
    wrong += [(name, value) for name in ("dim", "mask_dim") if name in subject.defaults for value in (0, -1, 64.0)]
    for name, value in wrong:
        told = _taken(partial(build, subject.features, **{**subject.settings, name: value}), name, str(value))
        if told:
            return f"{name}={value!r} {told}"
    for name in subject.features:
        told = _taken(partial(build, {key: x for key, x in subject.features.items() if key != name}), name)
        if told:
            return f"a pyramid without {name} {told}"
    return None


def _taken(build: Callable[[], object], *named: str) -> str | None:
    """How a bad setting was taken; None when it was refused in one line that holds all of `named`."""
    try:
        with torch.device("meta"):
            build()
    except ValueError as error:
        said = str(error)
        # whole words: a setting called p is not named by "expected"
        if "\n" not in said and all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", said) for part in named):
            return None
        return f"is refused with {' '.join(said.split())!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "is accepted"

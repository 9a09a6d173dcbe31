"""What an encoder may keep, and where: weights in the state dict, and nothing else anywhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from effbench.conformance.check import check
from effbench.conformance.compare import difference, listed, moved
from effbench.conformance.subject import GLOBALS, Subject
from effbench.encoders.contract import exits_of

LIBRARIES = {"torch", "torchvision", "timm", "builtins", "abc", "typing"}


class Snapshot:
    """Named values as they are now, to tell later which were replaced, written to, or grew.

    It keeps values and members alive, so that no new object gets the address of an old one.
    """

    def __init__(self, items: Iterable[tuple[str, object]]) -> None:
        self._kept = {name: (value, _members(value)) for name, value in items}
        self._marks = {name: _mark(value) for name, (value, _) in self._kept.items()}

    def changed(self, items: Iterable[tuple[str, object]]) -> list[str]:
        """Names whose value is another now, names that came and names that are gone."""
        now = {name: _mark(value) for name, value in items}
        return sorted(name for name in self._marks.keys() | now.keys() if self._marks.get(name) != now.get(name))


def _members(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, (list, tuple, set)) else []


def _mark(value: object) -> tuple[int, ...]:
    version = (value._version,) if isinstance(value, Tensor) else ()
    return (id(value), *map(id, _members(value)), *version)


@check(
    wants="weights and attributes as they were before the call, and the input untouched",
    mend="pass intermediate values on as arguments, write to no attribute in forward, and to no map in place",
    requires=("runs", "no_global_state"),
)
def no_state(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid()
    given = {name: x.clone() for name, x in features.items()}
    weights = {name: x.clone() for name, x in encoder.state_dict().items()}
    attributes = Snapshot(_attributes(encoder))
    first = subject.run(encoder, features)
    with torch.no_grad():
        subject.call(encoder, features)
    changed = attributes.changed(_attributes(encoder))
    changed += [name for name, x in encoder.state_dict().items() if not torch.equal(x, weights[name])]
    if changed:
        return f"forward changed {listed(changed)}"
    if written := [name for name, x in features.items() if not torch.equal(x, given[name])]:
        return f"forward wrote to its input {listed(written)}"
    with torch.no_grad():
        subject.call(encoder, subject.pyramid(1, (96, 64)))
    if found := difference(first, subject.run(encoder, features)):
        return f"after a call with another image, {found}"
    return None


def _attributes(encoder: nn.Module) -> Iterator[tuple[str, object]]:
    for path, module in encoder.named_modules():
        for key, value in vars(module).items():
            yield ".".join(filter(None, (path, key))), value


@check(
    wants="a process left as it was: PyTorch's settings, the random seed, module variables, class attributes",
    mend="keep everything on the instance and make it at construction; leave settings and seeds to the caller",
)
def no_global_state(subject: Subject) -> str | None:
    features, other = subject.pyramid(), subject.pyramid(1, (96, 64))
    with torch.no_grad():
        before = {name: read() for name, (read, _) in GLOBALS.items()}
        encoder = subject.cls(subject.features, **subject.settings).eval()
        if changed := [name for name, (read, _) in GLOBALS.items() if read() != before[name]]:
            return f"the constructor changed PyTorch's {listed(changed)}"
        outside = Snapshot(_outside(encoder))
        exits = exits_of(encoder)
        encoder({name: x.clone() for name, x in features.items()}, **({"exit": max(exits)} if exits else {}))
        if changed := [name for name, (read, _) in GLOBALS.items() if read() != before[name]]:
            return f"forward changed PyTorch's {listed(changed)}"
    if changed := outside.changed(_outside(encoder)):
        return f"forward changed {listed(changed)}, which all encoders share"
    drawn = []
    for seed in (1, 2):
        torch.default_generator.manual_seed(seed)
        subject.build()
        drawn.append(torch.rand(()))
    if torch.equal(*drawn):
        return "the constructor set the seed of torch's generator"
    first = subject.run(encoder, features)
    subject.run(subject.build(), other)
    if found := difference(first, subject.run(encoder, features)):
        return f"after another encoder's call, {found}"
    return None


def _outside(encoder: nn.Module) -> Iterator[tuple[str, object]]:
    """What the classes of an encoder hold outside its instances: class attributes and their modules' variables."""
    classes = {cls for module in encoder.modules() for cls in type(module).__mro__}
    own = [cls for cls in classes if cls.__module__.partition(".")[0] not in LIBRARIES]
    for cls in own:
        yield from ((f"{cls.__name__}.{key}", x) for key, x in vars(cls).items() if not key.startswith("__"))
    for module in {cls.__module__ for cls in own}:
        variables = vars(sys.modules[module]) if module in sys.modules else {}
        yield from ((f"{module}.{key}", x) for key, x in variables.items() if not key.startswith("__"))


@check(
    wants="all that the output depends on in the state dict, which another encoder loads strictly",
    mend="hold weights as nn.Parameter or register_buffer, and layers in nn.ModuleList or nn.ModuleDict",
    requires=("determinism",),
)
def state_dict(subject: Subject) -> str | None:
    first, second, features = moved(subject.build()), subject.build(), subject.pyramid()
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    if found := difference(subject.run(first, features), subject.run(second, features)):
        loose = [name for name, value in _attributes(first) if isinstance(value, Tensor)]
        held = f"; {listed(loose)} is a plain tensor" if loose else ""
        return f"in an encoder that loaded the state dict, {found}{held}"
    return None

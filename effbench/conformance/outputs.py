"""What an encoder's output promises: shapes, dtypes, and what it may depend on."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from effbench.conformance.check import check
from effbench.conformance.compare import NAMES, difference, image, moved, tensors
from effbench.conformance.subject import Subject
from effbench.encoders.contract import Encoder, EncoderOutput, exits_of

ALONE = 1e-5
"""By how much an image may differ between a batch and alone, in float32."""

COARSE_TO_FINE = ("res5", "res4", "res3")


@check(
    wants="finite values in an EncoderOutput: a tensor, a tuple of three, and an exit only of an early-exit encoder",
    mend="return EncoderOutput(mask_features, (stride32, stride16, stride8)) from forward",
    requires=(),
)
def runs(subject: Subject) -> str | None:
    encoder = subject.build()
    output = subject.run(encoder, subject.pyramid())
    if not isinstance(output, EncoderOutput):
        return f"forward returned {type(output).__name__}"
    if len(output.multi_scale) != 3 or not all(isinstance(x, Tensor) for x in tensors(output)):
        return f"multi_scale holds {[type(x).__name__ for x in output.multi_scale]}"
    for name, x in zip(NAMES, tensors(output), strict=True):
        if not x.isfinite().all():
            return f"{name} holds infinite or undefined values"
    if output.exit is not None and not exits_of(encoder):
        return f"exit is {output.exit}, but the encoder names no exits"
    return None


@check(
    wants="mask features (B, mask_dim, H/4, W/4) and maps (B, dim, h, w) at strides 32, 16, 8",
    mend="order the maps coarse to fine and project them to dim, the mask features to mask_dim",
)
def shapes(subject: Subject) -> str | None:
    encoder = subject.build()
    sizes = ((64, 96), (96, 160), (32, 32))
    return next((found for size in sizes if (found := _misfit(subject, encoder, size))), None)


@check(
    wants="each map as large as the backbone's at its stride, whatever the image's size",
    mend="resize to the shape of the map to be matched (x.shape[-2:]), never by a factor",
    requires=("shapes",),
)
def odd_sizes(subject: Subject) -> str | None:
    encoder = subject.build()
    for size in ((72, 100), (40, 136), (100, 36)):
        try:
            found = _misfit(subject, encoder, size)
        except RuntimeError as error:
            found = f"raised {' '.join(str(error).split())[:200]}"
        if found:
            return f"for an image of {size[0]}x{size[1]}, {found}"
    return None


def _misfit(subject: Subject, encoder: Encoder, size: tuple[int, int]) -> str | None:
    """The first map of the wrong shape, or with undefined values, for an image of `size`."""
    features = subject.pyramid(2, size)
    dim, mask_dim = (subject.settings.get(name, getattr(encoder, name)) for name in ("dim", "mask_dim"))
    expected = [(2, mask_dim, *features["res2"].shape[2:])]
    expected += [(2, dim, *features[name].shape[2:]) for name in COARSE_TO_FINE]
    for name, shape, x in zip(NAMES, expected, tensors(subject.run(encoder, features)), strict=True):
        if tuple(x.shape) != shape:
            return f"{name} is {tuple(x.shape)} where {shape} belongs"
        if not x.isfinite().all():
            return f"{name} holds infinite or undefined values"
    return None


@check(
    wants="the same output for the same input and seed, and an evaluation that draws no random number",
    mend="draw random numbers in training only (if self.training), and at construction from torch's generator",
    requires=("runs", "no_global_state"),
)
def determinism(subject: Subject) -> str | None:
    features = subject.pyramid()
    built = []
    for _ in range(2):
        torch.default_generator.manual_seed(5)
        built.append(subject.build())
    before = _generators()
    first, second = (subject.run(built[0], features, seed=None) for _ in range(2))
    if found := difference(first, second):
        return f"of two equal calls, {found}"
    drawn = [name for name, state in _generators().items() if state != before[name]]
    if drawn:
        return f"an evaluation drew from the generator of {drawn[0]}"
    if found := difference(first, subject.run(built[1], features)):
        return f"built twice from one seed, {found}"
    return None


def _generators() -> Mapping[str, bytes]:
    states = {"torch": torch.get_rng_state().tolist(), "numpy": np.random.get_state(), "python": random.getstate()}
    return {name: pickle.dumps(state) for name, state in states.items()}


@check(
    wants="maps and specs found by name, others ignored",
    mend='read features["res3"] and self.specs["res3"]; do not go through their values in turn',
    requires=("determinism",),
)
def look_up_by_name(subject: Subject) -> str | None:
    encoder, features = subject.build(), subject.pyramid()
    shuffled = {"stem": torch.zeros(1), **dict(reversed(features.items()))}
    if found := difference(subject.run(encoder, features), subject.run(encoder, shuffled)):
        return f"with the maps in another order and one more, {found}"
    with torch.device("meta"):
        plain = {name: tuple(spec) for name, spec in reversed(list(subject.features.items()))}
        built = [subject.build(features).state_dict() for features in (subject.features, plain)]
    ours, theirs = ({name: x.shape for name, x in state.items()} for state in built)
    changed = [name for name in ours if theirs.get(name) != ours[name]]
    return f"built from specs in another order, {changed[0]} has another shape" if changed else None


@check(
    wants=f"every image of a batch as it is alone, within {ALONE}",
    mend="compute nothing over the batch dimension: no mean, norm or flattening that mixes images",
    requires=("determinism",),
)
def batch_invariance(subject: Subject) -> str | None:
    encoder, features = moved(subject.build()), subject.pyramid(2)
    together = subject.run(encoder, features)
    for i in range(2):
        alone = subject.run(encoder, {name: x[i : i + 1] for name, x in features.items()})
        if found := difference(alone, image(together, i), atol=ALONE):
            return f"for image {i} of 2, {found} from the image alone"
    return None


@check(
    wants="output dtype = input dtype, and in float64 the values of float32",
    mend="create tensors with dtype= and device= of the input, and leave the output as computed",
    requires=("determinism", "state_dict"),
)
def dtype(subject: Subject) -> str | None:
    encoder, features = subject.build(), subject.pyramid()
    single = subject.run(encoder, features)
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        cast = {name: x.to(kind) for name, x in features.items()}
        output = subject.run(copy.deepcopy(encoder).to(kind), cast)
        for name, x in zip(NAMES, tensors(output), strict=True):
            if x.dtype != kind:
                return f"{name} is {x.dtype} for {kind} maps"
        if kind is torch.float64 and (found := difference(single, output, atol=1e-4, rtol=1e-3)):
            return f"in float64, {found}"
    return None

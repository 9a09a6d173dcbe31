"""Time of Mask2Former's whole encoder, by whose code and in which form, after it has been found right.

All get the same weights and the same maps. Weights are fresh, but for the projections to offsets and logits: as these
are initialised, samples lie on pixels and all weigh the same, whatever the tokens are.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from effbench.encoders.contract import Encoder
from effbench.errors import InputError
from effbench.models.segmenter import STRIDE
from effbench.peers.contract import Case
from effbench.peers.mask2former import absent, their_encoder
from effbench.peers.registry import find, version
from effbench.probes import conditions
from effbench.probes.base import Context, Measurement, parse_size, segmenter
from effbench.probes.clocks import clock, synchronisations
from effbench.probes.kernel_inputs import STRIDES, settings_of
from effbench.probes.latency import by_clock, random_pyramid
from effbench.probes.modes import as_run, graph_breaks, in_form
from effbench.probes.neighbours import processes
from effbench.probes.precision import maps_of, relative_error
from effbench.probes.warm_up import warm_up
from effbench.probes.watch import Watch
from effbench.study.cell import Cell

NAME = "encoder"
VERSION = "1"
INSIDE = "one forward of the encoder on a batch, from backbone maps to its output"
IMPLEMENTATIONS = ("effbench", "transformers")
OFFSETS_PX = 2.0
"""How far tokens move samples from the initial pattern: the standard deviation in pixels."""
LIMITS = {"float32": 1e-4, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 1e-1}
"""precision -> most that the root mean square error of a map may be, over the root mean square of the truth."""


def missing(cell: Cell) -> str | None:
    """Why the cell cannot be timed here: no device, no such package, or an operator that refuses its calls."""
    reason, name = conditions.missing(cell), cell.options.get("op")
    if reason or _implementation(cell) == "effbench":
        return reason
    return absent() or ((find(name).absent() or find(name).refuses(_case(cell))) if name else None)


@torch.inference_mode()
def measure(cell: Cell, context: Context) -> Measurement:
    """Seconds per forward on random maps of an image of `cell.size` "HxW".

    Options: implementation (one of `IMPLEMENTATIONS`), for transformers also op (a peer's operator in place of its
    own; None), samples, warm_up_s (0), and those of `conditions`. What is wrong is not timed: no samples, `invalid` in
    the detail with the figures.
    """
    how = conditions.conditions(cell)
    theirs = _implementation(cell) == "transformers"
    if theirs and not how.plain:
        raise InputError(f"transformers' encoder under {cell.conditions}; expected it eager, as it is")
    before = processes(how.device)
    size = parse_size(cell.size)
    if any(side % STRIDE for side in size):
        raise InputError(f"size {cell.size} is timed without padding; expected multiples of {STRIDE}")
    asked = _asked(cell)
    encoder: nn.Module
    inputs: Mapping[str, Tensor] = {name: x.to(how.dtype) for name, x in asked.pyramid.items()}
    detail: dict[str, Any] = {"inside": INSIDE, "version": None, "op_version": None}
    broken = graph_breaks()
    with how.applied():
        if theirs:
            ran = {"encoder": "transformers", "ms_deform_attn": cell.options.get("op") or "transformers"}
            detail["version"], name = version(find("transformers")), cell.options.get("op")
            detail["op_version"] = version(find(name)) if name else None
            encoder = _theirs(cell, asked, how.dtype)
        else:
            ours = copy.deepcopy(asked.encoder).to(how.dtype)
            ran = {"encoder": "effbench", **ours.implementation()}
            encoder, inputs = in_form(ours, inputs, how, size)
        run = as_run(encoder, inputs, how.mode)
        found = maps_of(run())
        errors = {name: relative_error(found.pop(name).double(), exact) for name, exact in asked.truth.items()}
        detail |= {"outputs": errors, "limit": LIMITS[cell.precision]}
        if wrong := _wrong(errors, detail["limit"]):
            return Measurement([], "s", {**detail, "invalid": wrong}, ran)
        timer = clock(how.device)
        warm = warm_up(lambda: timer.time(run).host, cell.options.get("warm_up_s", 0.0))
        with Watch(how, before) as watch:
            samples = []
            for _ in range(cell.options["samples"]):
                samples.append(timer.time(run))
                context.report(done=len(samples), total=cell.options["samples"], ms=1000 * samples[-1].host)
    detail |= {
        **watch.to_json(samples),
        **by_clock(samples),
        "warm_up": warm.times,
        "warm_up_flat": warm.flat,
        "synchronisations": synchronisations(run, how.device),
        "graph_breaks": graph_breaks() - broken if "compile" in how.mode else None,
    }
    return Measurement(detail[detail["clock"]], "s", detail, ran)


def _case(cell: Cell) -> Case:
    """A layer's call of the operator, as peers are asked about it."""
    settings, (height, width) = settings_of(cell), parse_size(cell.size)
    tokens = sum((height // stride) * (width // stride) for stride in STRIDES)
    heads, points = settings["heads"], settings["points"]
    sizes = (cell.batch, tokens, heads, settings["dim"] // heads, tokens, len(STRIDES), points)
    return Case(cell.device, getattr(torch, cell.dtype), *sizes, fused=False, backward=False)


def _theirs(cell: Cell, asked: Question, dtype: torch.dtype) -> nn.Module:
    weights = {name: x.to(dtype) for name, x in asked.encoder.state_dict().items()}
    name = cell.options.get("op")
    return their_encoder(weights, asked.encoder.specs, settings_of(cell), find(name).load().op if name else None)


def _wrong(errors: Mapping[str, Mapping[str, float]], limit: float) -> str | None:
    """Why the answer is not timed, or None."""
    # not >, so that what is no number is wrong, too
    wrong = [f"{name} {error['rms']:.2g}" for name, error in errors.items() if not error["rms"] <= limit]
    return f"wrong, and not timed; errors above {limit:g}: {', '.join(wrong)}" if wrong else None


def _implementation(cell: Cell) -> str:
    """Who answers; InputError for one that does not exist, and for an encoder that not all have."""
    name: str = cell.options["implementation"]
    if cell.encoder != "mask2former":
        raise InputError(f"probe encoder on {cell.encoder}; expected mask2former, which others have, too")
    if name not in IMPLEMENTATIONS:
        raise InputError(f"implementation {name!r}; expected one of {', '.join(IMPLEMENTATIONS)}")
    return name


class Question(NamedTuple):
    """What all are asked: an encoder and maps, in float64, and its answer."""

    encoder: Encoder
    pyramid: dict[str, Tensor]
    truth: dict[str, Tensor]


def _asked(cell: Cell) -> Question:
    """The cell's question, which depends neither on who answers nor on precision and form."""
    common = replace(cell, dtype="float32", options={})
    return _question(json.dumps(common.to_json(), sort_keys=True))


@lru_cache(maxsize=1)
def _question(cell: str) -> Question:
    """Kept for the next cell of this process, since all are asked the same one after another."""
    of = Cell.from_json(json.loads(cell))
    torch.manual_seed(0)
    model = segmenter(of).eval()
    encoder = model.encoder
    for name, weight in encoder.named_parameters():
        for kind, deviation in (("sampling_offsets.weight", OFFSETS_PX), ("attention_weights.weight", 1.0)):
            if name.endswith(kind):
                nn.init.normal_(weight, std=deviation / math.sqrt(weight.shape[1]))
    pyramid = {name: x.double() for name, x in random_pyramid(of, model).items()}
    encoder = encoder.double()
    return Question(encoder, pyramid, maps_of(encoder(pyramid)))

"""Shapes and textures of the embedded set as plain formulas on pixel coordinates, without a drawing library.

Shapes take coordinates u, v of equal form, scaled so that the unit disc is the shape's circumscribed disc
(it can then rotate inside its bounding box), v pointing down, and return a bool mask. Outlines also take the
width of their line on that scale. Textures return a tone in 0..1 for every pixel of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def _disc(u: Floats, v: Floats) -> Mask:
    return np.asarray(u * u + v * v <= 1)


def _square(u: Floats, v: Floats) -> Mask:
    return np.asarray(np.maximum(abs(u), abs(v)) <= 0.7)


def _triangle(u: Floats, v: Floats) -> Mask:
    return np.asarray((v <= 0.5) & (np.sqrt(3) * abs(u) - v <= 1))


def _cross(u: Floats, v: Floats) -> Mask:
    return np.asarray((np.minimum(abs(u), abs(v)) <= 0.28) & (np.maximum(abs(u), abs(v)) <= 0.95))


def _star(u: Floats, v: Floats) -> Mask:
    radius, step = np.hypot(u, v), 2 * np.pi / 5
    # Folded on the nearest point, each arm is one edge from the tip (1, 0) to the notch.
    angle = abs((np.arctan2(u, -v) + step / 2) % step - step / 2)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    notch_x, notch_y = 0.45 * np.cos(step / 2), 0.45 * np.sin(step / 2)
    return np.asarray(notch_y * (x - 1) + (1 - notch_x) * y <= 0)


def _bar(u: Floats, v: Floats) -> Mask:
    return np.asarray((abs(u) <= 0.94) & (abs(v) <= 0.3))


def _ring(u: Floats, v: Floats) -> Mask:
    square = u * u + v * v
    return np.asarray((square <= 1) & (square >= 0.25))


def _crescent(u: Floats, v: Floats) -> Mask:
    return np.asarray((u * u + v * v <= 1) & ((u - 0.5) ** 2 + v * v >= 0.64))


def _diamond(u: Floats, v: Floats) -> Mask:
    return np.asarray(abs(u) / 0.6 + abs(v) <= 1)


SHAPES: dict[str, Callable[[Floats, Floats], Mask]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "star": _star,
    "bar": _bar,
    "ring": _ring,
    "crescent": _crescent,
    "diamond": _diamond,
}

OUTLINES: dict[str, Callable[[Floats, Floats, float], Mask]] = {
    "square": lambda u, v, line: _band(np.maximum(abs(u), abs(v)), 0.7, line),
    "ring": lambda u, v, line: _band(np.hypot(u, v), 1.0, line),
    "triangle": lambda u, v, line: _band(np.maximum(v, (np.sqrt(3) * abs(u) - v) / 2), 0.5, line),
    "bar": lambda u, v, line: np.asarray((abs(u) <= 0.94) & (abs(v) <= line / 2)),
    "cross": lambda u, v, line: np.asarray(
        (np.minimum(abs(u), abs(v)) <= line / 2) & (np.maximum(abs(u), abs(v)) <= 0.95)
    ),
    "crescent": lambda u, v, line: _disc(u, v) & ~_disc(u - line, v),
}


def _band(distance: Floats, edge: float, line: float) -> Mask:
    return np.asarray((distance <= edge) & (distance >= edge - line))


def texture(kind: str, size: int, period: float, rng: np.random.Generator) -> Floats:
    """Tone float32 (size, size) or broadcastable to it, in 0..1, of `period` pixels and random phase."""
    if kind == "clouds":
        field = smooth_fields(1, max(2, round(size / period)), size, rng)[0]
        low, high = field.min(), field.max()
        return np.asarray((field - low) / (high - low), np.float32)
    steps = np.arange(size, dtype=np.float32) / period
    y, x = (steps + rng.random())[:, None] % 1, (steps + rng.random())[None] % 1
    tones = {
        "rows": lambda: y < 0.5,
        "columns": lambda: x < 0.5,
        "checker": lambda: (y < 0.5) ^ (x < 0.5),
        "dots": lambda: (y - 0.5) ** 2 + (x - 0.5) ** 2 < 0.09,
    }
    return np.asarray(tones[kind](), np.float32)


def smooth_fields(count: int, knots: int, size: int, rng: np.random.Generator) -> Floats:
    """Random float32 (count, size, size) fields that vary over about size / knots pixels."""
    weights = _spread(knots, size)
    values = rng.standard_normal((count, knots, knots), dtype=np.float32)
    return np.asarray(weights @ values @ weights.T, np.float32)


@cache
def _spread(knots: int, size: int) -> Floats:
    pixels = np.linspace(0, knots - 1, size, dtype=np.float32)[:, None]
    weights = np.exp(-0.5 * ((pixels - np.arange(knots)) / 0.6) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)

"""Resizing as two products: a matrix for the rows, one for the columns.

Positions and weights are those of OpenCV, which MXNet resizes with: pixel centres are at halves,
what lies beyond the edge is the edge's pixel, and only "area" averages when it shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from symbucket.checks import check_choice
from symbucket.types import Array

INTERPOLATIONS = ("nearest", "linear", "cubic", "area", "lanczos")
"""By MXNet's number, ``interp``."""

_CUBIC = -0.75


def _cubic(x: float) -> list[float]:
    """Weights of the four pixels around a position x after the second one (Keys, 1981)."""

    def outer(d: float) -> float:
        return ((_CUBIC * d - 5 * _CUBIC) * d + 8 * _CUBIC) * d - 4 * _CUBIC

    def inner(d: float) -> float:
        return ((_CUBIC + 2) * d - (_CUBIC + 3)) * d * d + 1

    return [outer(x + 1), inner(x), inner(1 - x), outer(2 - x)]


def _lanczos(x: float) -> list[float]:
    """Weights of eight pixels around a position x after the fourth one, with sum 1."""
    values = [float(np.sinc(d) * np.sinc(d / 4)) for d in (x + 3 - i for i in range(8))]
    total = sum(values)
    return [v / total for v in values]


_TAPS: dict[str, tuple[int, Callable[[float], list[float]]]] = {
    "linear": (0, lambda x: [1 - x, x]),
    "cubic": (1, _cubic),
    "lanczos": (3, _lanczos),
}


def weights(size: int, target: int, kind: str, shrinks: bool = True) -> Array:
    """Return the matrix (target, size) that resizes one axis, float64.

    ``shrinks``: no axis of the picture grows. Otherwise "area" is a sharper "linear".
    """
    check_choice(kind, "interpolation", INTERPOLATIONS)
    matrix = np.zeros((target, size))
    scale = size / target
    for i in range(target):
        if kind == "nearest":
            matrix[i, min(math.floor(i * scale), size - 1)] = 1
        elif kind == "area" and shrinks:
            low, high = i * scale, min((i + 1) * scale, size)
            for j in range(math.floor(low), min(math.ceil(high - 1e-9), size)):
                matrix[i, j] = (min(j + 1, high) - max(j, low)) / (high - low)
        else:
            before, tap = _TAPS["linear" if kind == "area" else kind]
            place = (i + 0.5) * scale - 0.5
            first = math.floor(place)
            offset = place - first
            if kind == "area":
                first = math.floor(i * scale)
                offset = max(0.0, (i + 1) - (first + 1) / scale)
                offset -= math.floor(offset)
            for k, weight in enumerate(tap(offset)):
                matrix[i, min(max(first - before + k, 0), size - 1)] += weight
    return matrix


def size_by_short_edge(rows: int, columns: int, size: int) -> tuple[int, int]:
    """Return (width, height) whose shorter edge is ``size``, with the aspect ratio of a picture."""
    if rows > columns:
        return size, size * rows // columns
    return size * columns // rows, size


def resize(values: Array, width: int, height: int, kind: str = "linear") -> Array:
    """Return a picture (rows, columns, channels) in another size, of the same dtype.

    Integers are rounded, and cut to what the dtype holds.
    """
    rows, columns = values.shape[:2]
    if (rows, columns) == (height, width):
        return values.copy()
    shrinks = rows >= height and columns >= width
    down = weights(rows, height, kind, shrinks).astype(np.float32)
    across = weights(columns, width, kind, shrinks).astype(np.float32)
    wide = np.tensordot(values.astype(np.float32), across, axes=(1, 1))  # rows, channels, width
    result = np.tensordot(down, wide, axes=(1, 0)).transpose(0, 2, 1)
    if np.issubdtype(values.dtype, np.integer):
        info = np.iinfo(values.dtype)
        result = np.clip(np.rint(result), info.min, info.max)
    return np.ascontiguousarray(result).astype(values.dtype)

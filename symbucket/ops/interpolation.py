"""Images read between their elements, at places that other values compute.

What reads them is written out, so that it has gradients with respect to the image and the places.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import Expr
from symbucket.ir.expr import clip, where


def sample(x: Expr, places: Sequence[Expr], mode: str, padding: str, corners: bool = False) -> Expr:
    """Return what lies at ``places`` of images.

    Args:
        x: images (n, channels, *sizes).
        places: for each axis of ``sizes`` where to read, (n, count), counted in elements.
        mode: "nearest", "linear" or "cubic".
        padding: what is outside: "zeros", "border" or "reflection".
        corners: whether images end in the middle of their outermost elements.

    Returns:
        (n, channels, count).
    """
    if mode != "cubic":
        places = [
            _inside(place, size, padding, corners) for place, size in zip(places, x.shape[2:])
        ]
    if mode == "nearest":
        corner = [place.op("Round") for place in places]
        y, within = _elements(x, corner, padding, corners)
        return y if within is None else where(_over_channels(within), y, 0.0)
    firsts = [place.op("Floor") for place in places]
    parts = [place - first for place, first in zip(places, firsts)]
    weights = [_weights(part, mode) for part in parts]
    total: Expr | None = None
    for offsets in itertools.product(*(range(len(w)) for w in weights)):
        corner = [first + float(k - (mode == "cubic")) for first, k in zip(firsts, offsets)]
        weight = weights[0][offsets[0]]
        for axis, k in enumerate(offsets[1:], 1):
            weight = weight * weights[axis][k]
        elements, within = _elements(x, corner, padding, corners)
        if within is not None:  # of weights, which are fewer than elements
            weight = weight * within.cast(weight.dtype)
        term = elements * _over_channels(weight)
        total = term if total is None else total + term
    assert total is not None
    return total


def _weights(part: Expr, mode: str) -> list[Expr]:
    """Return the weights of the elements around a place that is ``part`` behind one of them."""
    if mode == "linear":
        return [1.0 - part, part]
    a = -0.75

    def near(x: Expr) -> Expr:
        return ((a + 2) * x - (a + 3)) * x * x + 1.0

    def far(x: Expr) -> Expr:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)]


def _inside(place: Expr, size: int, padding: str, corners: bool) -> Expr:
    """Return a place that is within the image, unless zeros lie outside."""
    if padding == "border":
        return clip(place, 0.0, float(size - 1))
    if padding == "reflection":
        return clip(_reflected(place, size, corners), 0.0, float(size - 1))
    return place


def _reflected(place: Expr, size: int, corners: bool) -> Expr:
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    span = high - low
    if span == 0.0:
        return place * 0.0
    away = abs(place - low)
    turns = (away / span).op("Floor")
    rest = away - turns * span
    odd = turns.op("Mod", 2.0, fmod=1) == 1.0
    return where(odd, high - rest, rest + low)


def _elements(
    x: Expr, corner: Sequence[Expr], padding: str, corners: bool
) -> tuple[Expr, Expr | None]:
    """Return the elements at whole places, or those nearest to them, and which places are within.

    The elements are (n, channels, count), the truth values (n, count); None: zeros lie nowhere.
    """
    sizes = x.shape[2:]
    flat: Expr | None = None
    within: Expr | None = None
    for place, size in zip(corner, sizes):
        if padding == "reflection":
            place = _reflected(place, size, corners)
        if padding == "zeros":
            ok = (place >= 0.0) & (place <= float(size - 1))
            within = ok if within is None else within & ok
        index = clip(place, 0.0, float(size - 1)).cast(ir.DataType.INT64)
        flat = index if flat is None else flat * size + index
    assert flat is not None
    n, count = flat.shape
    rows = x.reshape((*x.shape[:2], math.prod(sizes)))
    index = _over_channels(flat).expand((n, x.shape[1], count))
    return rows.op("GatherElements", index, axis=2), within


def _over_channels(x: Expr) -> Expr:
    """Return (n, count) as (n, 1, count)."""
    return x.reshape((x.shape[0], 1, x.shape[1]))

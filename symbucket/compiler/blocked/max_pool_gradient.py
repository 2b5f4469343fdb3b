"""The gradient of a max pool on values in blocks (``symbucket/ir/max_pool_gradient.py``).

Two ways. Place by place: a convolution with a stride takes one place of all windows and compares it
with the maxima, in one pass over a fraction of the elements. An element that equals its maximum
gets all that places before it have left of dy, and the last place gets the rest, for one of the
window's elements is its maximum. Side by side again, the places are the gradient.

Or all places at once, as in standard ONNX, with the maxima and dy spread over all elements. That
takes three times as many passes over as many elements, and the kernel that spreads runs on one
thread. A convolution that takes one place multiplies its neighbour by zero, though, which is no
number where that is infinite; so this is left for values that need not be finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symbucket.compiler.blocked.channelwise import clipped, per_channel
from symbucket.compiler.blocked.layouts import convolve
from symbucket.ir import BLOCKED_DOMAIN, Expr, produced_by
from symbucket.ir.max_pool_gradient import LEAST, numbers_of_places, to_first_maximum

_MOST_PLACES = 4
"""Places of a window up to which one by one is faster."""


def blocked_max_pool_gradient(
    x: Expr, y: Expr, dy: Expr, kernel: Sequence[int], block: int
) -> Expr:
    """The gradient of x for windows of size ``kernel`` side by side, with the maxima y."""
    from_kernel = produced_by(x.value, "Conv", BLOCKED_DOMAIN) is not None
    if from_kernel and math.prod(kernel) <= _MOST_PLACES:
        return _place_by_place(x, y, dy, kernel, block)
    return _at_once(x, y, dy, kernel, block)


def _place_by_place(x: Expr, y: Expr, dy: Expr, kernel: Sequence[int], block: int) -> Expr:
    samples, channels, rows, columns = y.shape
    left, gradients = dy, []
    for i, j in list(np.ndindex(*kernel))[:-1]:
        gradients.append(left * _is_maximum(x, y, (i, j), kernel, block))
        left = left - gradients[-1]
    gradients.append(left)

    def beside(values: Sequence[Expr], size: int) -> Expr:
        pieces = [value.reshape((-1, size)) for value in values]
        return pieces[0] if len(pieces) == 1 else pieces[0].op("Concat", *pieces[1:], axis=1)

    lines = [
        beside(gradients[i : i + kernel[1]], block) for i in range(0, len(gradients), kernel[1])
    ]
    size = columns * kernel[1] * block
    return beside(lines, size).reshape((samples, channels, rows * kernel[0], columns * kernel[1]))


def _is_maximum(x: Expr, y: Expr, place: Sequence[int], kernel: Sequence[int], block: int) -> Expr:
    """1 for windows whose element at a place equals their maximum, 0 for others."""
    i, j = place
    channels = x.shape[1]
    weight = np.zeros((channels // block, i + 1, j + 1, block))
    weight[:, i, j] = -1.0
    # The difference is exact: 1 if it is none, else at most 0.
    taken = x.const(weight.reshape(channels, 1, i + 1, j + 1))
    return convolve(x, taken, strides=kernel, group=channels, added=y, **clipped(-1.0 / LEAST, 1.0))


def _at_once(x: Expr, y: Expr, dy: Expr, kernel: Sequence[int], block: int) -> Expr:
    channels, rows, columns = x.shape[1:]
    minus = x.const(-np.ones((channels, 1, 1, 1)))

    def spread(value: Expr) -> Expr:
        return value.op("Upsample", domain=BLOCKED_DOMAIN, scales=[1, 1, *kernel], mode="nearest")

    def equal(value: Expr, maxima: Expr, least: float) -> Expr:
        return per_channel(value, minus, None, spread(maxima), **clipped(-1.0 / least, 1.0))

    def pooled(value: Expr) -> Expr:
        pool = {"kernel_shape": list(kernel), "strides": list(kernel), "pads": [0, 0, 0, 0]}
        return value.op("MaxPool", domain=BLOCKED_DOMAIN, **pool)

    # The channels of a block lie side by side, and have the number of their place.
    numbers = numbers_of_places(kernel, (rows, columns))
    each = np.tile(numbers.reshape(-1, 1), (channels // block, block))
    return to_first_maximum(x, y, dy, each.reshape(x.shape[1:])[None], equal, spread, pooled)

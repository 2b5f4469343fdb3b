"""Which convolutions are faster in blocks.

A block of channels is worth it if much is computed for each element that has to be reordered, and
for each element of the weight, which is reordered too. The numbers are from two cores with AVX-512,
with one thread and with two, onnxruntime-training 1.19.2 and onnxruntime 1.32: kernels of 1, 3, 5
and 7, strides 1 and 2, 1 to 2,048 channels, 1 to 32 pictures of 7 to 224 elements a side.
"""

from __future__ import annotations

import math

from symbucket.types import Shape

LEAST_WORK = 100
"""Multiplications and additions for each reordered element."""

LEAST_WORK_OF_POINTS = 800
"""The same for kernels of one element, which are plain products in standard ONNX."""

LEAST_WORK_OF_POINTS_TRANSPOSED = 250
"""The same for a transposed convolution, which adds up overlapping results."""

LEAST_POSITIONS = 150
"""Elements of a channel, in all samples, that share a weight."""

LEAST_TOTAL = 1_000_000
"""Multiplications and additions of a node."""


def pays_forward(x: Shape, weight: Shape, y: Shape, block: int) -> bool:
    """Return whether a convolution from x to y does."""
    reordered = math.prod(y) + (math.prod(x) if x[1] >= block else 0)
    least = LEAST_WORK if _is_area(weight) else LEAST_WORK_OF_POINTS
    return _fills(x[1], y[1], block) and _pays(
        2 * math.prod(y) * _each(weight), reordered, y, least
    )


def pays_transposed(x: Shape, weight: Shape, y: Shape, block: int) -> bool:
    """Return whether a transposed convolution of stride 1 from x to y does."""
    whole = x[1] % block == 0 and y[1] % block == 0
    least = LEAST_WORK if _is_area(weight) else LEAST_WORK_OF_POINTS_TRANSPOSED
    work = 2 * math.prod(x) * _each(weight)
    return whole and _pays(work, math.prod(x) + math.prod(y), x, least)


def pays_weight_gradient(x: Shape, dy: Shape, weight: Shape, block: int) -> bool:
    """Return whether the gradient of a weight does; that of single points is a plain product."""
    whole = dy[1] % block == 0 and (x[0] < block or x[0] % block == 0)
    work = 2 * math.prod(dy) * _each(weight)
    return whole and _is_area(weight) and work >= LEAST_WORK * (math.prod(x) + math.prod(dy))


def _fills(channels: int, filters: int, block: int) -> bool:
    """Return whether all blocks are whole; input channels may be fewer than one block has."""
    return filters % block == 0 and (channels < block or channels % block == 0)


def _pays(work: int, reordered: int, values: Shape, least: int) -> bool:
    positions = values[0] * math.prod(values[2:])
    return work >= max(LEAST_TOTAL, least * reordered) and positions >= LEAST_POSITIONS


def _is_area(weight: Shape) -> bool:
    return math.prod(weight[2:]) > 1


def _each(weight: Shape) -> int:
    """Elements of the weight for one of the first axis."""
    return math.prod(weight[1:])

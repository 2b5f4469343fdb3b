"""Which convolutions are faster in blocks.

A block of channels is worth it if much is computed for each element that has to be reordered, and
for each element of the weight, which is reordered too. The numbers are from two cores with AVX-512
and onnxruntime-training 1.19.2: kernels of 1, 3, 5 and 7, strides 1 and 2, 1 to 2,048 channels, 1
to 32 pictures of 7 to 224 elements a side, with one thread and with two; gradients of weights and
depthwise convolutions with two only. On onnxruntime 1.32 whole networks were measured.
"""

from __future__ import annotations

import math

from symbucket.types import Shape

LEAST_WORK = 100
"""Multiplications and additions for each reordered element."""

LEAST_WORK_OF_POINTS = 800
"""The same for kernels of one element, which are plain products in standard ONNX."""

LEAST_WORK_OF_WEIGHTS = 40
"""The same for gradients of weights, of which the standard form copies all that is in windows."""

LEAST_POSITIONS = 150
"""Elements of a channel, in all samples, that share a weight."""

LEAST_TOTAL = 1_000_000
"""Multiplications and additions of a node."""

LEAST_DEPTHWISE = 100_000
"""The same with a convolution for each channel, of which the standard kernel makes products."""


def pays_forward(
    x: Shape, weight: Shape, y: Shape, group: int, block: int, *, stays: bool = False
) -> bool:
    """Return whether a convolution from x to y does; y need not be reordered if it ``stays``."""
    work = 2 * math.prod(y) * _each(weight)
    if group > 1:
        return _pays_depthwise(work, x, y, group, block)
    few = x[1] < block
    reordered = (0 if stays else math.prod(y)) + (0 if few else math.prod(x))
    return (few or _fills(x, block)) and _fills(y, block) and _pays(work, reordered, weight, y)


def pays_transposed(x: Shape, weight: Shape, y: Shape, group: int, block: int) -> bool:
    """Return whether a transposed convolution of stride 1 from x to y does."""
    work = 2 * math.prod(x) * _each(weight)
    if group > 1:
        return _pays_depthwise(work, x, y, group, block)
    reordered = math.prod(x) + math.prod(y)
    return _fills(x, block) and _fills(y, block) and _pays(work, reordered, weight, x)


def pays_weight_gradient(x: Shape, dy: Shape, weight: Shape, group: int, block: int) -> bool:
    """Return whether the gradient of a weight does; that of single points is a plain product."""
    work = 2 * math.prod(dy) * _each(weight)
    if group > 1:
        return _pays_depthwise(work, x, dy, group, block)
    enough = work >= LEAST_WORK_OF_WEIGHTS * (math.prod(x) + math.prod(dy))
    return _fills(dy, block) and _is_area(weight) and enough


def _fills(value: Shape, block: int) -> bool:
    """Return whether the channels of a value fill whole blocks."""
    return value[1] % block == 0


def _pays(work: int, reordered: int, weight: Shape, y: Shape) -> bool:
    least = LEAST_WORK if _is_area(weight) else LEAST_WORK_OF_POINTS
    positions = y[0] * math.prod(y[2:])
    return work >= max(LEAST_TOTAL, least * reordered) and positions >= LEAST_POSITIONS


def _pays_depthwise(work: int, x: Shape, y: Shape, group: int, block: int) -> bool:
    each = x[1] == y[1] == group
    return each and _fills(x, block) and work >= LEAST_DEPTHWISE


def _is_area(weight: Shape) -> bool:
    return math.prod(weight[2:]) > 1


def _each(weight: Shape) -> int:
    """Elements of the weight for one of the first axis."""
    return math.prod(weight[1:])

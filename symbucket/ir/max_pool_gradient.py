"""``MaxPoolGradient(x, y, dy)``: a node of symbucket's own domain.

x is under windows that cover it once, y are their maxima, and the first element of a window that
equals its maximum gets dy. As a node of its own it can still be told what sums of it are: all that
is not zero stands in dy already, which is as many times smaller as a window has elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from symbucket.ir.builder import Builder, attr, dtype_of, shape_of
from symbucket.ir.expr import Expr
from symbucket.ir.gradient_rules import no_gradient
from symbucket.ir.nodes import input_of, produced_by
from symbucket.ir.registry import OWN_DOMAIN, TensorType, expansion, shape_rule
from symbucket.types import Array

LEAST = float(np.finfo(np.float32).tiny)
"""The least difference of two numbers of float32 that are not both next to zero."""

no_gradient("MaxPoolGradient", domain=OWN_DOMAIN, because="is itself part of a gradient")


def max_pool_gradient(x: Expr, y: Expr, dy: Expr, kernel: Sequence[int]) -> Expr:
    """Return the gradient of x for windows of size ``kernel``, side by side."""
    return x.own("MaxPoolGradient", y, dy, kernel_shape=list(kernel))


@dataclass(frozen=True)
class BeforePool:
    """What a MaxPoolGradient of x is made of: ``maxima``, and ``factor`` times ``dy``.

    ``factor`` has one number for all places of a channel, 1.0 if there is none.
    """

    maxima: Expr
    dy: Expr
    factor: Expr | float
    kernel: list[int]

    def gradient(self, x: Expr, factor: Expr) -> Expr:
        """The MaxPoolGradient times a factor that is the same for all places of a channel."""
        return max_pool_gradient(x, self.maxima, self.dy * (factor * self.factor), self.kernel)

    def sums(self, axes: Sequence[int]) -> tuple[Expr, Expr]:
        """Sums, over axes that include all places, of the gradient and of the gradient times x."""
        total = self.dy.sum(axes, keepdims=True)
        product = (self.dy * self.maxima).sum(axes, keepdims=True)
        return total * self.factor, product * self.factor


def before_the_pool(dx: Expr, x: Expr) -> BeforePool | None:
    """Return what ``dx`` is made of if it is a MaxPoolGradient of x, else None."""
    node = produced_by(dx.value, "MaxPoolGradient", OWN_DOMAIN)
    if node is None or node.inputs[0] is not x.value:
        return None
    maxima, dy = (Expr(dx.g, input_of(node, i)) for i in (1, 2))
    factor: Expr | float = 1.0
    product = produced_by(dy.value, "Mul")
    if product is not None:
        left, right = (Expr(dx.g, input_of(product, i)) for i in (0, 1))
        if left.shape == dy.shape and right.shape == (dy.shape[1], *[1] * (dy.rank - 2)):
            dy, factor = left, right
    return BeforePool(maxima, dy, factor, list(attr(node, "kernel_shape")))


@shape_rule("MaxPoolGradient", domain=OWN_DOMAIN)
def _shape(node: ir.Node) -> list[TensorType]:
    x = input_of(node, 0)
    return [(shape_of(x), dtype_of(x))]


@expansion("MaxPoolGradient")
def _expand(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x, y, dy = (Expr(g, input_of(node, i)) for i in range(3))
    kernel = list(attr(node, "kernel_shape"))
    scales = g.const(np.array([1, 1, *kernel], dtype=np.float32))

    def spread(value: Expr) -> Expr:
        return value.op(
            "Resize",
            None,
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def pooled(value: Expr) -> Expr:
        return value.op("MaxPool", kernel_shape=kernel, strides=kernel)

    numbers = numbers_of_places(kernel, x.shape[2:])
    numbers = numbers.reshape(1, 1, *numbers.shape)

    def equal(value: Expr, maxima: Expr, least: float) -> Expr:
        if least < 1.0:
            return (value == spread(maxima)).cast(value.dtype)
        # 1 or at most 0; a comparison and a cast would take twice as long.
        return (value - spread(maxima - 1.0)).op("Relu")

    return [to_first_maximum(x, y, dy, numbers, equal, spread, pooled).value]


def numbers_of_places(kernel: Sequence[int], size: Sequence[int]) -> Array:
    """Return a number for each place of pictures: the larger, the earlier in its window."""
    ranks = np.arange(math.prod(kernel), 0, -1).reshape(kernel)
    return np.tile(ranks, [n // k for n, k in zip(size, kernel)])


def to_first_maximum(
    x: Expr,
    y: Expr,
    dy: Expr,
    numbers: Array,
    equal: Callable[[Expr, Expr, float], Expr],
    spread: Callable[[Expr], Expr],
    pooled: Callable[[Expr], Expr],
) -> Expr:
    """dy for the first element of each window that equals its maximum y.

    By comparing: the kernel that returns positions beside maxima takes 15 times as long as without.
    Every element that equals its window's maximum gets its number, and the one with the largest
    number of its window gets dy. ``spread`` gives the value of each window to all of its elements,
    ``pooled`` takes the maxima of windows. ``equal`` is 1 for elements that are the maximum of
    their window and 0 for others, which are smaller by ``least`` or more.
    """
    candidates = equal(x, y, LEAST) * numbers
    return equal(candidates, pooled(candidates), 1.0) * spread(dy)

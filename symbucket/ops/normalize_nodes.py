"""The nodes of our own domain that normalizations rest on, with analytic gradients.

``Normalize`` is zero mean and unit variance over some axes, around which scale and shift are
ordinary products and sums; ``NormalizeBatch`` has them inside, as they are the same for all that is
normalized together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    dtype_of,
    expansion,
    gradient,
    input_of,
    no_gradient,
    optional_input_of,
    shape_of,
    shape_rule,
)
from symbucket.ir.expr import reciprocal, sqrt
from symbucket.ir.max_pool_gradient import before_the_pool


def normalize(
    g: Builder, x: ir.Value, axes: Sequence[int], eps: float, sign: ir.Value | None = None
) -> list[ir.Value]:
    """``(x - mean) r`` over ``axes`` with ``r = sign / sqrt(var + eps)``; then r, mean, var.

    var is the mean squared distance from the mean (divided by n, not n - 1). The last three keep
    ``axes`` with size 1. Only the first output may be differentiated. ``sign`` is 1 or -1 for what
    is normalized together, and has no gradient.
    """
    return g.ops("Normalize", x, sign, outputs=4, domain=OWN_DOMAIN, axes=list(axes), eps=eps)


no_gradient("Normalize", inputs=[1], because="is a sign", domain=OWN_DOMAIN)


@shape_rule("Normalize", domain=OWN_DOMAIN)
def _normalize_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    x = node.inputs[0]
    assert x is not None
    shape, axes = shape_of(x), attr(node, "axes")
    reduced = tuple(1 if i in axes else d for i, d in enumerate(shape))
    return [(shape, dtype_of(x)), *[(reduced, dtype_of(x))] * 3]


@gradient("Normalize", domain=OWN_DOMAIN)
def _normalize_gradient(
    dy: Expr, grads: list[Expr | None], outputs: list[Expr], node: ir.Node, *, axes: Sequence[int]
) -> Expr:
    # With y = (x - mean) r:  dx = r (dy - mean(dy) - y mean(dy y)), Ioffe and Szegedy 2015.
    if any(grad is not None for grad in grads[1:]):
        raise UnsupportedError(f"{node.name}: the statistics of Normalize have no gradient")
    y, r, *_ = outputs
    pooled = before_the_pool(dy, y)
    if pooled is not None and {0, *range(2, y.rank)} == set(axes):
        total, product = pooled.sums(axes)
        share = r * (1.0 / math.prod(y.shape[axis] for axis in axes))
        return pooled.gradient(y, r) - (y * (product * share) + total * share)
    mean = dy.mean(axes, keepdims=True)
    slope = (dy * y).mean(axes, keepdims=True)
    return (dy - mean - y * slope) * r


def moments(x: Expr, axes: Sequence[int], eps: float) -> tuple[Expr, Expr, Expr, Expr]:
    """Return x - mean, 1 / sqrt(var + eps), mean, var."""
    # Two passes over x, not E[x^2] - mean^2 as ONNX Runtime's LayerNormalization: that one
    # cancels if the mean is large against the spread.
    mean = x.mean(axes, keepdims=True)
    centered = x - mean
    var = (centered * centered).mean(axes, keepdims=True)
    return centered, reciprocal(sqrt(var + eps)), mean, var


@expansion("Normalize")
def _expand_normalize(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x, sign = Expr(g, input_of(node, 0)), optional_input_of(node, 1)
    centered, r, mean, var = moments(x, attr(node, "axes"), attr(node, "eps"))
    if sign is not None:
        r = r * Expr(g, sign)
    y = centered * r
    return [y.value, r.value, mean.value, var.value]


def normalize_batch(
    g: Builder, x: ir.Value, scale: ir.Value, shift: ir.Value, axes: Sequence[int], eps: float
) -> list[ir.Value]:
    """``(x - mean) r * scale + shift``; then x - mean, r = 1 / sqrt(var + eps), mean and var.

    As :func:`normalize`, with a scale and a shift for all elements that are normalized together.
    Their gradients are the very sums that the gradient of x needs, which therefore takes seven
    passes over x and not eleven.
    """
    inputs = (x, scale, shift)
    return g.ops("NormalizeBatch", *inputs, outputs=5, domain=OWN_DOMAIN, axes=list(axes), eps=eps)


@shape_rule("NormalizeBatch", domain=OWN_DOMAIN)
def _normalize_batch_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    whole, *reduced = _normalize_shape(node)
    return [whole, whole, *reduced]


@gradient("NormalizeBatch", domain=OWN_DOMAIN)
def _normalize_batch_gradient(
    x: Expr,
    scale: Expr,
    shift: Expr,
    dy: Expr,
    grads: list[Expr | None],
    outputs: list[Expr],
    node: ir.Node,
    *,
    axes: Sequence[int],
) -> tuple[Expr, Expr, Expr]:
    # That of Normalize with dy * scale for dy and (x - mean) r for y.
    if any(grad is not None for grad in grads[1:]):
        raise UnsupportedError(f"{node.name}: the statistics of NormalizeBatch have no gradient")
    _, centered, r, *_ = outputs
    share = 1.0 / math.prod(x.shape[axis] for axis in axes)
    total = dy.sum(axes, keepdims=True)
    slope = (dy * centered).sum(axes, keepdims=True) * r
    # A factor and a summand for each of dy and x - mean: two passes where one kernel has both.
    factor = r * scale
    each = factor * share
    dx = dy * factor - (centered * (slope * r * each) + total * each)
    return dx, slope.reshape(scale.shape), total.reshape(shift.shape)


@expansion("NormalizeBatch")
def _expand_normalize_batch(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x, scale, shift = (Expr(g, v) for v in node.inputs if v is not None)
    centered, r, mean, var = moments(x, attr(node, "axes"), attr(node, "eps"))
    y = centered * (r * scale) + shift
    return [y.value, centered.value, r.value, mean.value, var.value]

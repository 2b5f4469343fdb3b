"""BatchNorm, LayerNorm, InstanceNorm, GroupNorm.

All four rest on nodes of our own domain with an analytic gradient: ``Normalize``, zero mean and
unit variance over some axes, around which scale and shift are ordinary products and sums; and
``NormalizeBatch``, which has them inside, as they are the same for all that is normalized together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError, UnsupportedError
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
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Normalization"


# The nodes of our own domain --------------------------------------------------------------------


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


# What the operators share -----------------------------------------------------------------------


def _around(shape: Sequence[int], axis: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The data with ``axis`` second and all others joined around it; and a vector's shape there.

    Costs no copy. Reductions of two or three axes are those for which ONNX Runtime has fast loops.
    """
    before, size, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    return ((before, size), (size,)) if after == 1 else ((before, size, after), (size, 1))


def _scale_and_shift(
    g: Builder, y: ir.Value, gamma: ir.Value, beta: ir.Value, column: Sequence[int]
) -> ir.Value:
    y = g.op("Mul", y, g.reshape(gamma, column))
    return g.op("Add", y, g.reshape(beta, column))


class _Normalization(Operator):
    output_mean_var: bool = False
    statistics: ClassVar[tuple[str, ...]] = ()
    """Names of the two further outputs with ``output_mean_var``; no gradient flows from them."""

    def outputs(self) -> tuple[str, ...]:
        return ("output", *self.statistics) if self.output_mean_var else ("output",)

    def statistics_shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the statistics."""
        return (self.channels(data),)

    def spread(self, g: Emitter, inverse: ir.Value) -> ir.Value | None:
        """Return sqrt(variance + eps) from its inverse, if it is put out."""
        return g.op("Reciprocal", inverse) if self.output_mean_var else None

    def with_statistics(
        self, g: Emitter, y: ir.Value, mean: ir.Value, spread: ir.Value | None
    ) -> Sequence[ir.Value]:
        """Return the outputs."""
        if not self.output_mean_var or spread is None:
            return [y]
        rest = zip((mean, spread), g.out_shapes[1:])
        return [y, *(g.own("BlockGrad", g.reshape(value, shape)) for value, shape in rest)]

    def arguments(self) -> tuple[str, ...]:
        return ("data", "gamma", "beta")

    def channels(self, data: tuple[int, ...]) -> int:
        """Length of gamma and beta; 0 if it is unknown. ShapeError if data cannot be used."""
        if len(data) < 2:
            raise ShapeError(f"data must have two or more axes, it has shape {data}")
        return data[1]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = unify(ins[0], outs[0])
        vector: PartialShape = None if data is None else (self.channels(data),)
        for shape in ins[1:]:
            vector = unify(vector, shape)
        more = outs[1:]
        if data is not None:
            more = [unify(shape, self.statistics_shape(data)) for shape in more]
        return [data, *[vector] * (len(ins) - 1)], [data, *more]


# The operators ----------------------------------------------------------------------------------


@operator("BatchNorm", "BatchNorm_v1")
class BatchNorm(_Normalization):
    """Each channel (``axis``) with zero mean and unit variance, times gamma, plus beta.

    In training mean and variance are those of the batch, and the auxiliary states follow:
    ``moving = momentum * moving + (1 - momentum) * batch`` (the variance divided by n). Otherwise,
    and always with ``use_global_stats``, the moving ones are used and stay. ``fix_gamma`` takes
    gamma as 1 and gives it no gradient. ``output_mean_var`` puts out the mean and, as MXNet does,
    1 / sqrt(variance + eps).
    """

    formula = (
        "y = gamma (x - mean) / sqrt(var + eps) + beta, over all axes but the channels'; outside "
        "of training mean and var are moving_mean and moving_var"
    )
    example = "BatchNorm([[3], [5]], [1], [0], [1], [4], eps=0.00001) -> [[1], [2]]"
    shapes = "(*d), (c,), (c,), (c,), (c,) -> (*d), (c,), (c,)"
    statistics = ("mean", "var")
    implicit = ("gamma", "beta", "moving_mean", "moving_var")
    no_gradient = ("moving_mean", "moving_var")

    eps: float = 1e-3
    momentum: float = 0.9
    fix_gamma: bool = True
    use_global_stats: bool = False
    output_mean_var: bool = False
    axis: int = 1
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        self.check(self.eps > 0, f"eps={self.eps} must be positive")
        self.check(0 <= self.momentum <= 1, f"momentum={self.momentum} must be from 0 to 1")

    def auxiliary(self) -> tuple[str, ...]:
        return ("moving_mean", "moving_var")

    def constant_inputs(self) -> Mapping[str, float]:
        return {"gamma": 1.0} if self.fix_gamma else {}

    def channels(self, data: tuple[int, ...]) -> int:
        return data[axis_of(self.axis, len(data))]

    def emit(
        self,
        g: Emitter,
        data: ir.Value,
        gamma: ir.Value,
        beta: ir.Value,
        moving_mean: ir.Value,
        moving_var: ir.Value,
    ) -> Sequence[ir.Value]:
        shape = shape_of(data)
        axis = axis_of(self.axis, len(shape))
        sizes, column = _around(shape, axis)
        if axis == 1:
            sizes, column = shape, (shape[1], *[1] * (len(shape) - 2))
        data, shift = g.reshape(data, sizes), g.reshape(beta, column)
        scale = g.const(np.ones(column), like=data) if self.fix_gamma else g.reshape(gamma, column)
        if g.training and not self.use_global_stats:
            axes = [0, *range(2, len(sizes))]
            y, _, inverse, mean, var = normalize_batch(g, data, scale, shift, axes, self.eps)
            self._follow(g, moving_mean, mean)
            self._follow(g, moving_var, var)
        else:
            root = g.op("Sqrt", g.op("Add", moving_var, g.const(self.eps, like=data)))
            away = g.op("Sub", data, g.reshape(moving_mean, column))
            mean, inverse = moving_mean, g.op("Reciprocal", root)
            factor = g.op("Mul", scale, g.reshape(inverse, column))
            y = g.op("Add", g.op("Mul", away, factor), shift)
        return self.with_statistics(g, g.reshape(y, shape), mean, inverse)

    def _follow(self, g: Emitter, moving: ir.Value, batch: ir.Value) -> None:
        # The state is read by one elementwise node only: the new value may go into its buffer.
        old = g.op("Mul", moving, g.const(self.momentum, like=moving))
        new = g.op("Mul", batch, g.const(1.0 - self.momentum, like=batch))
        g.update_aux(moving, g.op("Add", old, g.reshape(new, shape_of(moving))))


@operator("LayerNorm")
class LayerNorm(_Normalization):
    """Zero mean and unit variance along ``axis``, times gamma, plus beta (one each a position).

    ``output_mean_var`` puts out the mean and sqrt(variance + eps), too.
    """

    formula = "y = gamma (x - mean) / sqrt(var + eps) + beta, over axis"
    example = "LayerNorm([[1, 3]], [1, 1], [0, 10]) -> [[-1, 11]]"
    shapes = "(*d), (k,), (k,) -> (*d), (*e), (*e)"
    statistics = ("mean", "std")
    implicit = ("gamma", "beta")

    axis: int = -1
    eps: float = 1e-5
    output_mean_var: bool = False

    def __post_init__(self) -> None:
        self.check(self.eps > 0, f"eps={self.eps} must be positive")

    def channels(self, data: tuple[int, ...]) -> int:
        return data[axis_of(self.axis, len(data))]

    def statistics_shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return with_dim(data, axis_of(self.axis, len(data)), 1)

    def emit(
        self, g: Emitter, data: ir.Value, gamma: ir.Value, beta: ir.Value
    ) -> Sequence[ir.Value]:
        shape = shape_of(data)
        sizes, column = _around(shape, axis_of(self.axis, len(shape)))
        y, inverse, mean, _ = normalize(g, g.reshape(data, sizes), [1], self.eps)
        y = g.reshape(_scale_and_shift(g, y, gamma, beta, column), shape)
        return self.with_statistics(g, y, mean, self.spread(g, inverse))


@operator("InstanceNorm")
class InstanceNorm(_Normalization):
    """Every channel of every sample with zero mean and unit variance, times gamma, plus beta."""

    formula = "y = gamma (x - mean) / sqrt(var + eps) + beta, over the places of a channel"
    example = "InstanceNorm([[[1, 3]]], [1], [0]) -> [[[-0.9995, 0.9995]]]"
    shapes = "(n, c, *d), (c,), (c,) -> (n, c, *d)"
    implicit = ("gamma", "beta")

    eps: float = 1e-3

    def __post_init__(self) -> None:
        self.check(self.eps > 0, f"eps={self.eps} must be positive")

    def channels(self, data: tuple[int, ...]) -> int:
        if len(data) < 3:
            raise ShapeError(f"data must have three or more axes (n, c, ...), it has shape {data}")
        return data[1]

    def emit(self, g: Emitter, data: ir.Value, gamma: ir.Value, beta: ir.Value) -> ir.Value:
        shape = shape_of(data)
        data = g.reshape(data, (*shape[:2], math.prod(shape[2:])))
        y = normalize(g, data, [2], self.eps)[0]
        return g.reshape(_scale_and_shift(g, y, gamma, beta, (shape[1], 1)), shape)


@operator("GroupNorm")
class GroupNorm(_Normalization):
    """Channels in ``num_groups`` groups, each group of each sample normalised.

    gamma and beta have one number a group, as in MXNet 1.x. ``output_mean_var`` puts out the mean
    and sqrt(variance + eps) of each, too.
    """

    formula = (
        "y = gamma (x - mean) / sqrt(var + eps) + beta, over the channels and places of a group"
    )
    example = "GroupNorm([[[1, 3], [5, 9]]], [1, 1], [0, 0], num_groups=2) -> [[[-1, 1], [-1, 1]]]"
    shapes = (
        "(n, c, *d), (num_groups,), (num_groups,) -> (n, c, *d), (n, num_groups), (n, num_groups)"
    )
    statistics = ("mean", "std")
    implicit = ("gamma", "beta")

    num_groups: int = 1
    eps: float = 1e-5
    output_mean_var: bool = False

    def __post_init__(self) -> None:
        self.check(self.num_groups > 0, f"num_groups={self.num_groups} must be positive")
        self.check(self.eps > 0, f"eps={self.eps} must be positive")

    def channels(self, data: tuple[int, ...]) -> int:
        if len(data) < 3:
            raise ShapeError(f"data must have three or more axes (n, c, ...), it has shape {data}")
        if data[1] % self.num_groups:
            raise ShapeError(f"{data[1]} channels cannot be divided into {self.num_groups} groups")
        return self.num_groups

    def statistics_shape(self, data: tuple[int, ...]) -> tuple[int, ...]:
        return (data[0], self.num_groups)

    def emit(
        self, g: Emitter, data: ir.Value, gamma: ir.Value, beta: ir.Value
    ) -> Sequence[ir.Value]:
        shape, groups = shape_of(data), self.num_groups
        data = g.reshape(data, (shape[0], groups, math.prod(shape[1:]) // groups))
        y, inverse, mean, _ = normalize(g, data, [2], self.eps)
        y = g.reshape(_scale_and_shift(g, y, gamma, beta, (groups, 1)), shape)
        return self.with_statistics(g, y, mean, self.spread(g, inverse))

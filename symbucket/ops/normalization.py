"""BatchNorm, LayerNorm, InstanceNorm, GroupNorm.

All four rest on nodes of our own domain (see ``normalize_nodes``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import (
    Builder,
    shape_of,
)
from symbucket.ops.normalize_nodes import normalize, normalize_batch
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Normalization"


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

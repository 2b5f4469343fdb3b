"""Extremes and orders of foreign graphs, as PyTorch has them, with its gradients.

A NaN is an extreme, and the largest element of an order.

Of MXNet's ``max`` every element that equals the result gets the whole gradient. So a sentence of
equal words, or a border of padding, would get it as many times as it is long. Here equal elements
share it (``amax``, ``max`` over all axes), or the first one gets it (``max(dim)``, a global pool).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    const_of,
    dtype_of,
    expansion,
    gradient,
    input_of,
    shape_of,
    shape_rule,
)
from symbucket.ops.extremes import extreme, ordered, position
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter
from symbucket.types import Shape


@translation("ReduceMax", "ReduceMin")
def _extreme(g: Emitter, call: Call) -> Results:
    """With ``first_extreme``, which is not ONNX's, the first extreme gets the gradient."""
    x, axes = call.input(0), const_of(call.optional(1))
    rank, keep = len(shape_of(x)), int(call.attr("keepdims", 1))
    is_open = call.optional(1) is not None and axes is None
    if is_open or not rank or not dtype_of(x).is_floating_point():
        return [g.op(call.op_type, *call.inputs, keepdims=keep)]
    reduced = range(rank) if axes is None or not axes.size else {int(a) % rank for a in axes}
    first, kind = int(call.attr("first_extreme", 0)), call.op_type
    return [g.own("Extreme", x, kind=kind, axes=sorted(reduced), keepdims=keep, first=first)]


@translation("ArgMax", "ArgMin")
def _position(g: Emitter, call: Call) -> Results:
    x = Expr(g, call.input(0))
    if call.attr("select_last_index", 0) or not x.rank:
        return [x.op(call.op_type, **call.values()).value]
    axis, keep = call.attr("axis", 0) % x.rank, bool(call.attr("keepdims", 1))
    return [position(x, call.op_type, axis, keep).value]


@translation("TopK")
def _ordered(g: Emitter, call: Call) -> Results:
    x, count = Expr(g, call.input(0)), Expr(g, call.input(1))
    axis, largest = call.attr("axis", -1) % x.rank, bool(call.attr("largest", 1))
    return [y.value for y in ordered(x, count, axis, largest, bool(call.attr("sorted", 1)))]


@translation("GlobalMaxPool")
def _global_max_pool(g: Emitter, call: Call) -> Results:
    x = Expr(g, call.input(0))
    places = math.prod(x.shape[2:])
    flat = x.reshape((*x.shape[:2], places))
    y = flat.op("MaxPool", kernel_shape=[places], strides=[1], pads=[0, 0])
    return [y.reshape((*x.shape[:2], *[1] * (x.rank - 2))).value]


@shape_rule("Extreme", domain=OWN_DOMAIN)
def _shape(node: ir.Node) -> list[tuple[Shape, ir.DataType]]:
    x, axes = input_of(node, 0), attr(node, "axes")
    shape = shape_of(x)
    if attr(node, "keepdims"):
        return [(_with_ones(shape, axes), dtype_of(x))]
    return [(tuple(n for i, n in enumerate(shape) if i not in axes), dtype_of(x))]


@gradient("Extreme", domain=OWN_DOMAIN)
def _gradient(x: Expr, y: Expr, dy: Expr, *, axes: Sequence[int], first: int) -> Expr:
    """An equal share of dy for each element that equals the extreme, or all of it for the first."""
    column = _with_ones(x.shape, axes)
    hit = (x == y.reshape(column)).cast(x.dtype)
    dy = dy.reshape(column)
    if not first:
        return hit * (dy / hit.sum(axes, keepdims=True))
    sizes = [n if i in axes else 1 for i, n in enumerate(x.shape)]
    numbers = hit * np.arange(math.prod(sizes), 0, -1).reshape(sizes)
    largest = numbers.op("ReduceMax", list(axes), keepdims=1)
    return hit * (numbers == largest).cast(x.dtype) * dy


@expansion("Extreme")
def _expand(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    x = Expr(g, input_of(node, 0))
    return [extreme(x, attr(node, "kind"), attr(node, "axes"), attr(node, "keepdims")).value]


def _with_ones(shape: Sequence[int], axes: Sequence[int]) -> Shape:
    return tuple(1 if i in axes else n for i, n in enumerate(shape))

"""Gradients of reductions."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.ir import Expr, attr, const_of, gradient, no_gradient, shape_of
from symbucket.ir.expr import exp, maximum, sign, where
from symbucket.ir.gradient_rules import Parts

no_gradient(
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
    inputs=[1],
    because="holds axes",
)


def _reduced_axes(node: ir.Node) -> set[int]:
    x = node.inputs[0]
    assert x is not None
    rank = len(shape_of(x))
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    reduced = set() if axes is None else {int(axis) % rank for axis in axes.reshape(-1)}
    if not reduced and not attr(node, "noop_with_empty_axes", 0):
        return set(range(rank))
    return reduced


def _keep_axes(value: Expr, x: Expr, node: ir.Node) -> Expr:
    """A value of the output's shape with every axis of x; the reduced ones have size 1."""
    reduced = _reduced_axes(node)
    return value.reshape([1 if i in reduced else d for i, d in enumerate(x.shape)])


@gradient("ReduceSum")
def reduce_sum(dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dy for every element."""
    return _keep_axes(dy, x, node).expand(x.shape)


@gradient("ReduceMean")
def reduce_mean(dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """An equal share of dy for every element."""
    count = math.prod(x.shape[i] for i in _reduced_axes(node))
    return _keep_axes(dy * (1.0 / count), x, node).expand(x.shape)


@gradient("ReduceMax", "ReduceMin")
def reduce_extreme(y: Expr, dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dy for every element that equals the extreme, as in MXNet."""
    hit = (x == _keep_axes(y, x, node)).cast(x.dtype)
    return hit * _keep_axes(dy, x, node)


@gradient("ReduceProd")
def reduce_prod(dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dy times the product of the other elements.

    Product / element is NaN at zeros, so those become ones first and are counted: if there is one,
    only that element has a gradient, if there are two, none has.
    """
    axes = sorted(i for i in _reduced_axes(node) if x.shape[i] != 1)
    one = x.const(1.0)
    zero = x == 0.0
    safe = where(zero, one, x)
    zeros = zero.cast(x.dtype).sum(axes, keepdims=True)
    product = safe.op("ReduceProd", axes, keepdims=1) if axes else safe
    other_zeros = zeros - zero.cast(x.dtype)
    no_other_zero = (other_zeros == 0.0).cast(x.dtype)
    others = product / safe * no_other_zero
    return others * _keep_axes(dy, x, node)


@gradient("ReduceL1")
def reduce_l1(dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dx = sign(x) dy."""
    return sign(x) * _keep_axes(dy, x, node)


@gradient("ReduceL2")
def reduce_l2(y: Expr, dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dx = x dy / y; at the origin, which has no gradient, zero as the least subgradient."""
    floor = x.const(1e-30)
    return x * (_keep_axes(dy, x, node) / maximum(_keep_axes(y, x, node), floor))


@gradient("ReduceSumSquare")
def reduce_sum_square(dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dx = 2 x dy."""
    dy = _keep_axes(dy, x, node)
    return x * 2.0 * dy


@gradient("ReduceLogSumExp")
def reduce_log_sum_exp(y: Expr, dy: Expr, x: Expr, node: ir.Node) -> Parts:
    """dx = softmax(x) dy; zero if every element is minus infinity."""
    y = _keep_axes(y, x, node)
    safe = where(y == -math.inf, 0.0, y)
    return exp(x - safe) * _keep_axes(dy, x, node)

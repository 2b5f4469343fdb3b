"""Gradients of reductions."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only
from symbucket.ir import Builder, attr, const_of, dtype_of, gradient, shape_of


def _kept(node: ir.Node) -> tuple[tuple[int, ...], int]:
    """The output's shape with reduced axes kept, and how many elements went into each sum."""
    shape = shape_of(inp(node))
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    given = [] if axes is None else [int(a) % len(shape) for a in axes.reshape(-1)]
    if not given and not attr(node, "noop_with_empty_axes", 0):
        gone = set(range(len(shape)))
    else:
        gone = set(given)
    return (
        tuple(1 if i in gone else d for i, d in enumerate(shape)),
        math.prod(shape[i] for i in gone),
    )


def kept_shape(node: ir.Node) -> tuple[int, ...]:
    """The output's shape with reduced axes kept."""
    return _kept(node)[0]


def _spread(g: Builder, node: ir.Node, dy: ir.Value) -> ir.Value:
    kept, _ = _kept(node)
    shape = shape_of(inp(node))
    dy = g.reshape(dy, kept)
    return dy if kept == shape else g.op("Expand", dy, g.ints(*shape))


def _rest(node: ir.Node) -> list[None]:
    return [None] * (len(node.inputs) - 1)


@gradient("ReduceSum")
def _reduce_sum(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    return [_spread(g, node, only(grads)), *_rest(node)]


@gradient("ReduceMean")
def _reduce_mean(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    _, count = _kept(node)
    return [_spread(g, node, g.op("Mul", dy, g.const(1.0 / count, like=dy))), *_rest(node)]


@gradient("ReduceMax", "ReduceMin")
def _reduce_extreme(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # Every element that equals the extreme takes the gradient, as in MXNet.
    x, y, dy = inp(node), node.outputs[0], only(grads)
    kept, _ = _kept(node)
    hit = g.cast(g.op("Equal", x, g.reshape(y, kept)), dtype_of(x))
    return [g.op("Mul", hit, g.reshape(dy, kept)), *_rest(node)]


@gradient("ReduceProd")
def _reduce_prod(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # The product of the other elements; product / element is NaN at zeros, so those become ones
    # first and count: with one zero only that element has a gradient, with two there is none.
    x, dy = inp(node), only(grads)
    kept, _ = _kept(node)
    axes = [i for i, (k, d) in enumerate(zip(kept, shape_of(x))) if k != d]
    one = g.const(1.0, like=x)
    zero = g.op("Equal", x, g.const(0.0, like=x))
    safe = g.op("Where", zero, one, x)
    zeros = g.reduce_sum(g.cast(zero, dtype_of(x)), axes)
    whole = g.op("ReduceProd", safe, g.ints(*axes), keepdims=1) if axes else safe
    here = g.cast(zero, dtype_of(x))
    # The zeros among the others are all zeros without the element itself.
    alone = g.cast(g.op("Equal", g.op("Sub", zeros, here), g.const(0.0, like=x)), dtype_of(x))
    others = g.op("Mul", g.op("Div", whole, safe), alone)
    return [g.op("Mul", others, g.reshape(dy, kept)), *_rest(node)]


@gradient("ReduceL2")
def _reduce_l2(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, y, dy = inp(node), node.outputs[0], only(grads)
    kept, _ = _kept(node)
    # At the origin the norm has no gradient; zero is the subgradient of least size.
    floor = g.const(1e-30, like=x)
    ratio = g.op("Div", g.reshape(dy, kept), g.op("Max", g.reshape(y, kept), floor))
    return [g.op("Mul", x, ratio), *_rest(node)]

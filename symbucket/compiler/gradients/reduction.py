"""Gradients of reductions."""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.compiler.gradients.common import Grads, Wanted, inp, only
from symbucket.ir import Builder, attr, const_of, dtype_of, gradient, shape_of


def _kept(node: ir.Node) -> tuple[tuple[int, ...], int]:
    """The output's shape with reduced axes kept, and how many elements went into each sum."""
    shape = shape_of(inp(node))
    axes = const_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None and not attr(node, "noop_with_empty_axes", 0):
        gone = set(range(len(shape)))
    else:
        gone = {int(a) % len(shape) for a in (axes if axes is not None else [])}
    return (
        tuple(1 if i in gone else d for i, d in enumerate(shape)),
        math.prod(shape[i] for i in gone),
    )


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
    x, y, dy = inp(node), node.outputs[0], only(grads)
    kept, _ = _kept(node)
    weighted = g.op("Mul", g.reshape(dy, kept), g.reshape(y, kept))
    return [g.op("Div", weighted, x), *_rest(node)]


@gradient("ReduceL2")
def _reduce_l2(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, y, dy = inp(node), node.outputs[0], only(grads)
    kept, _ = _kept(node)
    # At the origin the norm has no gradient; zero is the subgradient of least size.
    floor = g.const(1e-30, like=x)
    ratio = g.op("Div", g.reshape(dy, kept), g.op("Max", g.reshape(y, kept), floor))
    return [g.op("Mul", x, ratio), *_rest(node)]

"""Gradients of operators that imported graphs bring and our own operators never write."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only, unbroadcast
from symbucket.compiler.autodiff.rules.reduction import kept_shape
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, attr, dtype_of, gradient, shape_of


def _rest(node: ir.Node) -> list[None]:
    return [None] * (len(node.inputs) - 1)


@gradient("CumSum")
def _cumsum(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    reverse, exclusive = attr(node, "reverse", 0), attr(node, "exclusive", 0)
    back = g.op("CumSum", only(grads), inp(node, 1), reverse=1 - reverse, exclusive=exclusive)
    return [back, None]


@gradient("Trilu")
def _trilu(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    diagonal = [inp(node, 1)] if len(node.inputs) > 1 and node.inputs[1] is not None else []
    return [g.op("Trilu", only(grads), *diagonal, upper=attr(node, "upper", 1)), *_rest(node)]


@gradient("Mod")
def _mod(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    # fmod(a, b) = a - b trunc(a / b)
    dy, a, b = only(grads), inp(node), inp(node, 1)
    da = unbroadcast(g, dy, shape_of(a)) if wanted[0] else None
    db = None
    if wanted[1]:
        ratio = g.op("Div", g.op("Sub", a, node.outputs[0]), b)
        whole = g.op("Round", ratio)
        db = unbroadcast(g, g.op("Neg", g.op("Mul", dy, whole)), shape_of(b))
    return [da, db]


@gradient("ReduceSumSquare")
def _reduce_sum_square(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x = inp(node)
    dy = g.reshape(only(grads), kept_shape(node))
    return [g.op("Mul", g.op("Mul", x, g.const(2.0, like=x)), dy), *_rest(node)]


@gradient("ReduceL1")
def _reduce_l1(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x = inp(node)
    return [g.op("Mul", g.op("Sign", x), g.reshape(only(grads), kept_shape(node))), *_rest(node)]


@gradient("ReduceLogSumExp")
def _reduce_log_sum_exp(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, kept = inp(node), kept_shape(node)
    share = g.op("Exp", g.op("Sub", x, g.reshape(node.outputs[0], kept)))
    return [g.op("Mul", share, g.reshape(only(grads), kept)), *_rest(node)]


@gradient("TopK")
def _top_k(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x = inp(node)
    zeros = g.filled(shape_of(x), 0.0, dtype_of(x))
    axis = attr(node, "axis", -1)
    return [g.op("ScatterElements", zeros, node.outputs[1], only(grads), axis=axis), None]


@gradient("Einsum")
def _einsum(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    """An operand's gradient is the Einsum of dy and the others; lost axes are spread again."""
    equation = str(attr(node, "equation")).replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or any(len(set(t)) != len(t) for t in (*terms, out)):
        raise UnsupportedError(
            f"{node.name}: the gradient of Einsum needs an equation with '->', without '...' and "
            f"without an axis twice in one operand; this one is {equation!r}"
        )
    found: list[ir.Value | None] = []
    for i, term in enumerate(terms):
        if not wanted[i]:
            found.append(None)
            continue
        others = [(terms[j], inp(node, j)) for j in range(len(terms)) if j != i]
        there = {axis for other, _ in (*others, (out, None)) for axis in other}
        reached = "".join(axis for axis in term if axis in there)
        source = ",".join([out, *(other for other, _ in others)])
        dx = g.op("Einsum", only(grads), *(v for _, v in others), equation=f"{source}->{reached}")
        shape = shape_of(inp(node, i))
        kept = [d if axis in there else 1 for axis, d in zip(term, shape)]
        dx = g.reshape(dx, kept)
        found.append(dx if tuple(kept) == shape else g.op("Expand", dx, g.ints(*shape)))
    return found


@gradient("LpNormalization")
def _lp_normalization(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, y, dy = inp(node), node.outputs[0], only(grads)
    if attr(node, "p", 2) != 2:
        raise UnsupportedError(f"{node.name}: the gradient of LpNormalization exists for p=2 only")
    axis = [attr(node, "axis", -1) % len(shape_of(x))]
    norm = g.op("Sqrt", g.reduce_sum(g.op("Mul", x, x), axis))
    along = g.op("Mul", y, g.reduce_sum(g.op("Mul", dy, y), axis))
    return [g.op("Div", g.op("Sub", dy, along), norm)]

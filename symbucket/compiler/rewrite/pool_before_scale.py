"""Let a pool take the maxima of a BatchNorm before scale and shift.

After the pool there are a quarter as many elements to scale, to shift, and to sum for the gradients
of both; and the gradient of the normalization needs those very sums. A negative scale turns maxima
into minima, so its sign is applied before the pool, where 1 / sqrt(var + eps) is a factor anyway.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.compiler.rewrite.pattern import Match, Op, Var, replace_matches
from symbucket.ir import OWN_DOMAIN, Builder, Expr, attr, attributes_of, shape_of
from symbucket.ir.expr import where

x, scale, shift = Var("x"), Var("scale"), Var("shift")
NORM = Op("NormalizeBatch", x, scale, shift, domain=OWN_DOMAIN, users=1)
POOL = Op("MaxPool", NORM)


@graph_pass("forward")
def pool_before_scale(graph: ir.Graph) -> int:
    """Rewrite every such pair in which a channel has one scale and one shift."""
    return replace_matches(graph, POOL, _swap)


def _swap(g: Builder, match: Match) -> ir.Value | None:
    pool, norm = match.node(POOL), match.node(NORM)
    centered, r = norm.outputs[1:3]
    read = (*pool.outputs[1:], centered, r)
    if any(value.uses() or value.is_graph_output() for value in read):
        return None
    column = (shape_of(match[x])[1], *[1] * (len(shape_of(match[x])) - 2))
    if shape_of(match[scale]) != column or shape_of(match[shift]) != column:
        return None
    before = Builder(g.graph, anchor=norm)
    with before.beside(norm):
        factor, sign, size = Expr(before, match[scale]), None, None
        if factor.constant is None or (factor.constant != 1.0).any():
            # Where the scale is 0 all elements become equal; the largest is one of them.
            sign = where(factor < 0.0, -1.0, factor.const(1.0))
            size = factor * sign
        y, _, mean, var = before.ops(
            "Normalize",
            match[x],
            None if sign is None else sign.value,
            outputs=4,
            domain=OWN_DOMAIN,
            axes=attr(norm, "axes"),
            eps=attr(norm, "eps"),
        )
    for old, new in zip(norm.outputs[3:], (mean, var)):
        substitute(before, old, new)
    maxima = Expr(g, g.ops("MaxPool", y, outputs=len(pool.outputs), **attributes_of(pool))[0])
    scaled = maxima if size is None else maxima * size
    return (scaled + Expr(g, match[shift])).value

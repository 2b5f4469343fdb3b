"""Sums of products become products of stacked operands: ``sum_t a_t^T b_t = [a]^T [b]``.

This is the gradient of a weight that every time step uses once; likewise the gradient of a bias, a
sum of row sums, is the row sum of the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.compiler.rewrite.pattern import Const, Match, Op, Var, replace_matches, variables
from symbucket.ir import Builder, shape_of

left, right = variables("left", "right")
rows = Var("rows", where=lambda v: len(shape_of(v)) == 2)
PRODUCT = Op("Gemm", left, right, transA=1, transB=0, alpha=1, users=1)
ROW_SUM = Op("ReduceSum", rows, Const([0]), keepdims=0, users=1)
SUM = Op("Sum")


@graph_pass("joint", requires=(Property.NO_DEAD_NODES,))
def sum_gemms(graph: ir.Graph) -> int:
    """Rewrite the products and row sums among the terms of every Sum; returns their number."""
    summed: list[ir.Node] = []

    def replace(g: Builder, match: Match) -> ir.Value | None:
        terms = [v for v in match.node(SUM).inputs if v is not None]
        if any(shape_of(v) != shape_of(match[SUM]) for v in terms):
            return None  # a sum that broadcasts
        sums: list[ir.Value] = []
        for pattern, stacked in _STACKED:
            matches = {v: m for v in terms if (m := pattern.match(v)) is not None}
            if len(matches) > 1:
                sums.append(stacked(g, list(matches.values())))
                summed.extend(m.node(pattern) for m in matches.values())
                terms = [v for v in terms if v not in matches]
        if not sums:
            return None
        sums += terms
        return sums[0] if len(sums) == 1 else g.op("Sum", *sums)

    replace_matches(graph, SUM, replace)
    graph.remove(summed, safe=True)
    return len(summed)


def _product(g: Builder, products: Sequence[Match]) -> ir.Value:
    """Return the sum of products as one product; those with zeros are left out."""
    operands = [(m[left], m[right]) for m in products]
    nonzero = [(a, b) for a, b in operands if not (is_zero(a) or is_zero(b))]
    if len(nonzero) > 1:
        operands = nonzero
    a = g.op("Concat", *(a for a, _ in operands), axis=0)
    b = g.op("Concat", *(b for _, b in operands), axis=0)
    return g.op("Gemm", a, b, transA=1)


def _row_sum(g: Builder, sums: Sequence[Match]) -> ir.Value:
    stack = g.op("Concat", *(m[rows] for m in sums), axis=0)
    return g.op("ReduceSum", stack, g.ints(0), keepdims=0)


_STACKED: tuple[tuple[Op, Callable[[Builder, Sequence[Match]], ir.Value]], ...] = (
    (PRODUCT, _product),
    (ROW_SUM, _row_sum),
)

"""``MaxPool(Relu(x))`` becomes ``Relu(MaxPool(x))``: the same numbers, fewer of them to clip.

Relu keeps order, so the largest element stays the largest, and what it makes equal, elements of 0,
has no gradient. Relu, its gradient and the comparison in it then see one element a window.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.pattern import Match, Op, Var, replace_matches
from symbucket.ir import Builder, attributes_of

x = Var("x")
RELU = Op("Relu", x, users=1)
POOL = Op("MaxPool", RELU)


@graph_pass("forward")
def pool_before_relu(graph: ir.Graph) -> int:
    """Rewrite every such pair, unless something reads the positions of the maxima."""
    return replace_matches(graph, POOL, _swap)


def _swap(g: Builder, match: Match) -> ir.Value | None:
    node = match.node(POOL)
    positions = node.outputs[1:]
    if any(value.uses() or value.is_graph_output() for value in positions):
        return None
    outputs = g.ops("MaxPool", match[x], outputs=len(node.outputs), **attributes_of(node))
    return g.op("Relu", outputs[0])

"""Products that share a weight and do not depend on each other become one product.

An unrolled network multiplies the inputs of all time steps by the same matrix. Stacked row upon
row they are one large product, which runs several times faster than many small ones. The gradient
follows by itself: this pass runs before differentiation, so the gradients of weight, bias and
inputs are single products as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import levels
from symbucket.compiler.rewrite.pattern import Op, Optional, Var, variables
from symbucket.ir import Builder, attribute_of, attributes_of, input_of, scope_of, shape_of

x, weight = variables("x", "weight")
bias = Var("bias", where=lambda c: len(shape_of(c)) == 1)
PRODUCT = Op("Gemm", x, weight, Optional(bias), transA=0)


@graph_pass("forward")
def batch_gemms(graph: ir.Graph) -> int:
    """Stack the Gemms of every group; returns the number of products that were stacked."""
    stacked = 0
    for members in _groups(graph):
        by_level: dict[int, list[ir.Node]] = defaultdict(list)
        for node, level in levels(graph, members).items():
            by_level[level].append(node)
        groups = [nodes for nodes in by_level.values() if len(nodes) > 1]
        for nodes in groups:
            _stack(graph, nodes)
            stacked += len(nodes)
        if groups:
            graph.sort()
    return stacked


def _groups(graph: ir.Graph) -> list[list[ir.Node]]:
    """Return Gemms that share weight, bias and attributes; only groups of several."""
    groups: dict[Hashable, list[ir.Node]] = defaultdict(list)
    for node in graph:
        match = PRODUCT.match_node(node)
        if match is not None:
            attributes = [attribute_of(node, name) for name in ("transB", "alpha", "beta")]
            key = (match[weight], match.get(bias), *attributes)
            groups[key].append(node)
    return [nodes for nodes in groups.values() if len(nodes) > 1]


def _stack(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Replace ``nodes`` by one product at the end of the graph; the caller sorts."""
    g = Builder(graph)
    first = nodes[0]
    blocks = [input_of(node, 0) for node in nodes]
    with g.scoped(f"stacked/{scope_of(first)}"):
        stack = g.op("Concat", *blocks, axis=0)
        y = g.op("Gemm", stack, *first.inputs[1:], **attributes_of(first))
        heights = g.ints(*(shape_of(block)[0] for block in blocks))
        parts = g.ops("Split", y, heights, axis=0, outputs=len(nodes))
    for node, part in zip(nodes, parts):
        node.outputs[0].replace_all_uses_with(part, replace_graph_outputs=True)
        graph.remove(node, safe=True)

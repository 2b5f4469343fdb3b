"""Products that share a weight and do not wait for each other become one product.

An unrolled network multiplies the inputs of all time steps by the same matrix. Stacked row upon
row they are one large product, which runs several times faster than many small ones. The gradient
follows by itself: this pass runs before differentiation, so the gradients of weight, bias and
inputs are single products as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import levels
from symbucket.ir import Builder, attr, shape_of


def batch_gemms(graph: ir.Graph) -> int:
    """Stack the Gemms of every group; gives the number of products that were stacked."""
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
    """Gemms without transA by right operand, bias and attributes; only groups of several."""
    found: dict[Hashable, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node.op_type != "Gemm" or node.domain or attr(node, "transA", 0):
            continue
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None and len(shape_of(bias)) != 1:
            continue
        key = (
            id(node.inputs[1]),
            id(bias),
            attr(node, "transB", 0),
            attr(node, "alpha", 1.0),
            attr(node, "beta", 1.0),
        )
        found[key].append(node)
    return [nodes for nodes in found.values() if len(nodes) > 1]


def _stack(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Replace ``nodes`` by one product at the end of the graph; the caller sorts."""
    g = Builder(graph)
    first = nodes[0]
    rows = [n.inputs[0] for n in nodes]
    heights = [shape_of(v)[0] for v in rows if v is not None]
    with g.scoped(_family(nodes)):
        x = g.op("Concat", *rows, axis=0)
        given = {name: a.value for name, a in first.attributes.items()}
        y = g.op("Gemm", x, *first.inputs[1:], **given)
        parts = g.ops("Split", y, g.ints(*heights), axis=0, outputs=len(nodes))
    for node, part in zip(nodes, parts):
        node.outputs[0].replace_all_uses_with(part, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _family(nodes: Sequence[ir.Node]) -> str:
    """A name for the stacked product, after its first member."""
    return f"stacked/{(nodes[0].name or '').rpartition('/')[0]}"

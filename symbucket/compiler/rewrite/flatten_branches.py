"""Compute both branches of an If and choose, for targets without If."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import Builder, branches_of, clear_body, input_of, place_copies, shape_of


@graph_pass("final", required=True)
def flatten_branches(graph: ir.Graph, context: PassContext) -> int:
    """Write the nodes of both branches in the place of every If; returns the number of Ifs.

    What the other branch makes of the values, NaN too, is thrown away by the choice.
    """
    if context.target.runs(("If",)):
        return 0
    flattened = 0
    while nodes := [node for node in graph if branches_of(node)]:  # branches may hold an If
        for node in nodes:
            _flatten(graph, node)
        flattened += len(nodes)
    return flattened


def _flatten(graph: ir.Graph, node: ir.Node) -> None:
    g = Builder(graph, anchor=node)
    with g.scoped(node.name or ""):
        then, otherwise = (_inlined(g, node, branch) for branch in branches_of(node))
        for old, a, b in zip(node.outputs, then, otherwise):
            rank = len(shape_of(old))
            condition = g.reshape(input_of(node, 0), (1,) * rank)
            substitute(g, old, g.op("Where", condition, a, b))
    graph.remove(node, safe=True)
    clear_body(node)


def _inlined(g: Builder, node: ir.Node, branch: ir.Graph) -> list[ir.Value]:
    """Append the nodes of a branch; return its outputs."""
    values = dict(zip(branch.inputs, node.inputs[1:]))
    return place_copies(g, branch, values, prefix=f"{node.name}/")

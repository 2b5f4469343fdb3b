"""Write the nodes of symbucket's own domain in standard ONNX."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import OWN_DOMAIN, Builder, graphs_of, info_of
from symbucket.ir.notes import phase_of


@graph_pass("final", required=True, ensures=(Property.STANDARD_ONNX,))
def expand_own_nodes(graph: ir.Graph) -> int:
    """Replace every own-domain node by its registered expansion."""
    expanded = 0
    for node in list(graph):
        for body in graphs_of(node):
            expanded += expand_own_nodes(body)
        if node.domain != OWN_DOMAIN:
            continue
        expansion = info_of(node).expand
        if expansion is None:
            raise AssertionError(
                f"node {node.name!r}: {node.op_type} of the domain {OWN_DOMAIN!r} has no "
                "expansion; register one with @expansion"
            )
        g = Builder(graph, anchor=node)
        with g.scoped(node.name or "", phase_of(node)):
            for old, new in zip(node.outputs, expansion(g, node)):
                substitute(g, old, new)
        graph.remove(node, safe=True)
        expanded += 1
    graph.opset_imports.pop(OWN_DOMAIN, None)
    return expanded

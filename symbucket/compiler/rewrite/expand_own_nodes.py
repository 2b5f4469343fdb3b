"""Write the nodes of our own domain in standard ONNX."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import OWN_DOMAIN, Builder, info_of


def expand_own_nodes(graph: ir.Graph) -> int:
    """Replace every node of our own domain by its registered expansion."""
    expanded = 0
    for node in list(graph):
        if node.domain != OWN_DOMAIN:
            continue
        rule = info_of(node).expand
        if rule is None:
            raise AssertionError(f"{node.op_type} of our own domain has no expansion")
        g = Builder(graph, anchor=node)
        with g.scoped(node.name or ""):
            for old, new in zip(node.outputs, rule(g, node)):
                substitute(g, old, new)
        graph.remove(node, safe=True)
        expanded += 1
    graph.opset_imports.pop(OWN_DOMAIN, None)
    return expanded

"""Remove nodes and constants that no output depends on."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.ir import body_of, clear_body, trim_scan
from symbucket.ir.notes import graph_notes


@graph_pass("joint", "final", required=True, ensures=(Property.NO_DEAD_NODES,))
def remove_dead_nodes(graph: ir.Graph) -> int:
    """Walk backwards once, so that the producers of a removed node may be removed too."""
    outputs = set(graph.outputs)
    removed = 0
    for node in reversed(list(graph)):
        if not any(out in outputs or out.uses() for out in node.outputs):
            graph.remove(node, safe=True)
            clear_body(node)
            removed += 1
        elif body_of(node) is not None:
            removed += trim_scan(node, remove_dead_nodes)
    constants = graph_notes(graph).constants
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del graph.initializers[name]
            for key in [k for k, v in constants.items() if v is value]:
                del constants[key]
    return removed

"""Remove Identity nodes, except those that make an output a value of its own."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.ir import input_of, is_op


@graph_pass("final", required=True)
def remove_identities(graph: ir.Graph) -> int:
    """Let users of an Identity read its input.

    An Identity that produces a graph output stays if its input is an input of the graph, a constant
    or another output: ONNX requires that every output is computed, under its own name.
    """
    outputs = set(graph.outputs)
    removed = 0
    for node in list(graph):
        if not is_op(node, "Identity"):
            continue
        source, result = input_of(node, 0), node.outputs[0]
        if result in outputs and (source.producer() is None or source in outputs):
            continue
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        if result in outputs:
            outputs.remove(result)
            outputs.add(source)
        graph.remove(node, safe=True)
        removed += 1
    return removed

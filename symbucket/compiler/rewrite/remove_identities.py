"""Remove Identity nodes; those that an output needs to be a value of its own stay."""

from __future__ import annotations

import onnx_ir as ir


def remove_identities(graph: ir.Graph) -> int:
    """Users of an Identity read its input instead.

    An Identity that makes a graph output stays where its input is itself an input, a constant or
    another output: ONNX wants every output computed, under a name of its own.
    """
    outputs = set(graph.outputs)
    removed = 0
    for node in list(graph):
        if node.op_type != "Identity" or node.domain:
            continue
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        if result in outputs and (source.producer() is None or source in outputs):
            continue
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        if result in outputs:
            outputs.remove(result)
            outputs.add(source)
        graph.remove(node, safe=True)
        removed += 1
    return removed

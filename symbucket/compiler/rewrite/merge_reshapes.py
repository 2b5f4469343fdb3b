"""A Reshape of a Reshape is one Reshape."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.ir import const_of, is_op, produced_by, shape_of


@graph_pass("final")
def merge_reshapes(graph: ir.Graph, context: PassContext) -> int:
    """Let every Reshape read what the one before it read; returns how many others are skipped.

    In files only: where this process runs a model, the memory plan writes a Reshape over its input.
    """
    if not context.target.unrolls_loops:
        return 0
    count = 0
    for node in list(graph):
        if not is_op(node, "Reshape") or const_of(node.inputs[1]) is None:
            continue
        source = node.inputs[0]
        while (before := produced_by(source, "Reshape")) is not None:
            source = before.inputs[0]
            count += 1
        assert source is not None
        if source is not node.inputs[0]:
            node.replace_input_with(0, source)
        result = node.outputs[0]
        if shape_of(source) == shape_of(result) and not result.is_graph_output():
            result.replace_all_uses_with(source)
    return count

"""Compute in another element type where the runtimes have no kernel for the one at hand."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import OPSET, Builder, attributes_of, dtype_of, graphs_of
from symbucket.ir.kernels import computing_dtype


@graph_pass("final")
def cast_to_kernels(graph: ir.Graph) -> int:
    """Put casts around nodes that no runtime has a kernel for, and return how many there are."""
    changed = 0
    for node in list(graph):
        for body in graphs_of(node):
            changed += cast_to_kernels(body)
        first = node.inputs[0] if node.inputs else None
        if node.domain or first is None:
            continue
        dtype = dtype_of(first)
        wide = computing_dtype(node.op_type, dtype)
        if wide == dtype:
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            inputs = [
                g.cast(x, wide) if x is not None and of_type else x
                for x, of_type in zip(node.inputs, _of_first_type(node))
            ]
            outputs = g.ops(node.op_type, *inputs, outputs=len(node.outputs), **attributes_of(node))
            for old, new in zip(node.outputs, outputs):
                substitute(g, old, g.cast(new, dtype_of(old)))
        graph.remove(node, safe=True)
        changed += 1
    return changed


def _of_first_type(node: ir.Node) -> list[bool]:
    """Return for each input whether its element type is by definition that of the first one.

    Axes, for example, are int64 whatever the type of the data.
    """
    formal = onnx.defs.get_schema(node.op_type, OPSET).inputs
    types = [formal[min(i, len(formal) - 1)].type_str for i in range(len(node.inputs))]
    return [one == types[0] for one in types]

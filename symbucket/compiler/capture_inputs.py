"""Write every If as ONNX has it: branches read values of the graph around them by name."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.ir import branches_of, copy_type, graphs_of
from symbucket.ir.notes import phase_of, set_phase


def capture_inputs(graph: ir.Graph) -> None:
    """Let branches read what their inputs stand for, from the outermost to the innermost."""
    for node in list(graph):
        for branch in branches_of(node):
            for value, outer in zip(branch.inputs, node.inputs[1:]):
                assert outer is not None
                value.replace_all_uses_with(outer)
            branch.inputs.clear()
        if branches_of(node) and len(node.inputs) > 1:
            node = _on_condition_alone(graph, node)
        for inner in graphs_of(node):
            capture_inputs(inner)


def _on_condition_alone(graph: ir.Graph, node: ir.Node) -> ir.Node:
    new = ir.Node(
        "",
        "If",
        node.inputs[:1],
        list(node.attributes.values()),
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for old, out in zip(node.outputs, new.outputs):
        copy_type(old, out)
        old.replace_all_uses_with(out, replace_graph_outputs=True)
    set_phase(new, phase_of(node))
    graph.insert_before(node, new)
    graph.remove(node, safe=True)
    return new

"""Split a training graph into a forward and a backward graph that share a stash."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.ports import PortedGraph, PortId, Role, distinct_values
from symbucket.ir import Builder, adopt_body, copy_node, dtype_of, new_graph, shape_of

GRADIENTS = (Role.GRAD, Role.ROWS, Role.VALUES)


def split_at_heads(
    ported: PortedGraph, forward_nodes: Sequence[ir.Node]
) -> tuple[PortedGraph, PortedGraph]:
    """Return a graph of ``forward_nodes`` and one of all other nodes.

    What the second reads of the first becomes the stash: outputs of the forward graph, inputs of
    the backward graph. Variables and head gradients are inputs of both or either. ``ported`` must
    not be used afterwards.
    """
    graph = ported.graph
    backward = Builder(new_graph(f"{graph.name}_backward"))
    for value in graph.inputs:  # no constant may take the name of an input
        backward.unique(value.name or "")
    copies: dict[ir.Value, ir.Value] = {}
    inputs: dict[ir.Value, PortId] = {}
    stash: dict[PortId, ir.Value] = {}
    first = set(forward_nodes)

    def copy_of(value: ir.Value) -> ir.Value:
        if value in copies:
            return copies[value]
        if value.const_value is not None:
            copy = backward.const(value.const_value.numpy())
        else:
            port = ported.inputs.get(value)
            if port is None:
                port = PortId(Role.STASH, value.name or "")
                stash[port] = value
            copy = backward.input(port.name, shape_of(value), dtype_of(value))
            inputs[copy] = port
        copies[value] = copy
        return copy

    later = [node for node in graph if node not in first]
    for node in later:
        copy = copy_node(node, [None if v is None else copy_of(v) for v in node.inputs])
        adopt_body(copy, backward.graph, copy_of)
        for old, new in zip(node.outputs, copy.outputs):
            copies[old] = new
            backward.unique(old.name or "")  # the passes' names are not to be these
        backward.graph.append(copy)
        if node.domain:
            backward.graph.opset_imports.setdefault(node.domain, 1)
    gradients = {
        port: copy_of(value) for port, value in ported.outputs.items() if port.role in GRADIENTS
    }
    results = {p: v for p, v in ported.outputs.items() if p.role not in GRADIENTS}
    second = PortedGraph(backward.graph, inputs, distinct_values(backward, gradients))
    for node in reversed(later):
        graph.remove(node, safe=True)
    ported.outputs = distinct_values(Builder(graph), {**results, **stash})
    return ported, second

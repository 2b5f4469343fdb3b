"""The gradient of an If: an If on the same condition, whose branches go back through the forward's.

A branch computes again what it needs of the forward branch. What another branch would have computed
is nowhere, so that nothing has to be kept in the shapes of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.autodiff.backpropagate import Adjoints, backpropagate
from symbucket.compiler.autodiff.flow import FLOATS
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import (
    Builder,
    append_if,
    branches_of,
    copy_into,
    dtype_of,
    info,
    input_of,
    input_of_body,
    new_body,
    output_of_body,
    shape_of,
)

Grads = Sequence[ir.Value | None]


def _if(g: Builder, node: ir.Node, grads: Grads, wanted: Sequence[bool]) -> Grads:
    inputs = [input_of(node, i) for i in range(len(node.inputs))]
    targets = [i for i, flag in enumerate(wanted) if flag and inputs[i].dtype in FLOATS]
    heads = {i: grad for i, grad in enumerate(grads) if grad is not None}
    branches = [_reversed(g, branch, heads, targets) for branch in branches_of(node)]
    outs = append_if(g, inputs[0], [*inputs[1:], *heads.values()], *branches)
    gradients: list[ir.Value | None] = [None] * len(inputs)
    for i, out in zip(targets, outs):
        gradients[i] = out
    return gradients


info("If").gradient = _if


def _reversed(
    g: Builder, branch: ir.Graph, heads: dict[int, ir.Value], targets: Sequence[int]
) -> ir.Graph:
    """Return a graph from the inputs of a branch and head gradients to gradients of inputs."""
    graph = new_body(g.root, f"grad/{branch.name}")
    copies = copy_into(graph, branch)
    nodes = list(graph)
    outputs = [copies.get(value, value) for value in branch.outputs]
    variables = [graph.inputs[i - 1] for i in targets]
    pending: Adjoints = {}
    for i, head in heads.items():
        inner = input_of_body(g, graph, f"{head.name}/inside", head)
        pending.setdefault(outputs[i], []).append(inner)
    with g.inside(graph):
        results = backpropagate(g, nodes, outputs, pending, variables)
        for variable in variables:
            value = results.get(variable)
            if value is None:
                value = g.filled(shape_of(variable), 0.0, dtype_of(variable))
            graph.outputs.append(output_of_body(g, graph, value))
    remove_dead_nodes(graph)
    return graph

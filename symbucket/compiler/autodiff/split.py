"""Cut a training graph into a forward and a backward model that share a stash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.ir import Builder, copy_node, dtype_of, new_graph, shape_of


@dataclass
class Split:
    """Two graphs with their outputs by name; the stash leaves one and enters the other."""

    forward: ir.Graph
    forward_outputs: dict[str, ir.Value]
    backward: ir.Graph
    backward_outputs: dict[str, ir.Value]


def split_at_heads(
    graph: ir.Graph,
    forward_nodes: Sequence[ir.Node],
    results: Mapping[str, ir.Value],
    gradients: Mapping[str, ir.Value],
) -> Split:
    """Keep ``forward_nodes`` in one graph and move the others to a second one.

    The values of the first that the second reads become the stash: outputs ``stash/NAME`` of the
    forward model, inputs of the same names of the backward model. Variables and head gradients
    are inputs of one or both. ``graph`` must not be used afterwards.
    """
    forward_names = {v.name: v for v in graph.inputs}
    backward = Builder(new_graph(f"{graph.name}_backward"))
    for name in forward_names:  # no constant may take the name of an input
        backward.unique(name or "")
    backward_values: dict[ir.Value, ir.Value] = {}
    stash: dict[str, ir.Value] = {}
    forward_set = set(forward_nodes)

    def in_backward(value: ir.Value) -> ir.Value:
        if value in backward_values:
            return backward_values[value]
        if value.const_value is not None:
            new = backward.const(value.const_value.numpy())
        elif forward_names.get(value.name) is value:
            assert value.name is not None
            new = backward.input(value.name, shape_of(value), dtype_of(value))
        else:
            name = f"stash/{value.name}"
            stash[name] = value
            new = backward.input(name, shape_of(value), dtype_of(value))
        backward_values[value] = new
        return new

    for node in [n for n in graph if n not in forward_set]:
        inputs = [None if v is None else in_backward(v) for v in node.inputs]
        copy = copy_node(node, inputs)
        for old, new in zip(node.outputs, copy.outputs):
            backward_values[old] = new
            backward.unique(old.name or "")  # so that later passes take other names
        backward.graph.append(copy)
        if node.domain:
            backward.graph.opset_imports.setdefault(node.domain, 1)
    backward_gradients = {name: in_backward(value) for name, value in gradients.items()}
    backward_outputs = _output_values(backward, backward_gradients)

    for node in reversed([n for n in graph if n not in forward_set]):
        graph.remove(node, safe=True)
    forward_outputs = _output_values(Builder(graph), {**results, **stash})
    return Split(graph, forward_outputs, backward.graph, backward_outputs)


def _output_values(g: Builder, values: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    """Return ``values`` by name, with a copy of each graph input and of each repeated value."""
    outputs: dict[str, ir.Value] = {}
    for name, value in values.items():
        needs_copy = value.producer() is None or value in outputs.values()
        outputs[name] = g.op("Identity", value) if needs_copy else value
    return outputs

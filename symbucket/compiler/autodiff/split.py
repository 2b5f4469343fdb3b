"""Cut a training graph into a forward and a backward model that share a stash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.ir import Builder, copy_node, dtype_of, new_graph, shape_of


@dataclass
class Split:
    """Two graphs with their outputs by name; the stash values stand in both."""

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
    """Keep ``forward_nodes`` in one graph and put the others into a second.

    What the second one reads of the first becomes the stash: outputs ``stash/NAME`` of the
    forward model, inputs of the same names of the backward model. Variables and head gradients
    are inputs of both or either. ``graph`` must not be used afterwards.
    """
    forward_names = {v.name: v for v in graph.inputs}
    backward = Builder(new_graph(f"{graph.name}_backward"))
    for name in forward_names:  # no constant may take the name of an input
        backward.unique(name or "")
    made: dict[ir.Value, ir.Value] = {}
    stash: dict[str, ir.Value] = {}
    first = set(forward_nodes)

    def bring(value: ir.Value) -> ir.Value:
        if value in made:
            return made[value]
        if value.const_value is not None:
            new = backward.const(value.const_value.numpy())
        elif forward_names.get(value.name) is value:
            assert value.name is not None
            new = backward.input(value.name, shape_of(value), dtype_of(value))
        else:
            name = f"stash/{value.name}"
            stash[name] = value
            new = backward.input(name, shape_of(value), dtype_of(value))
        made[value] = new
        return new

    for node in [n for n in graph if n not in first]:
        inputs = [None if v is None else bring(v) for v in node.inputs]
        copy = copy_node(node, inputs)
        for old, new in zip(node.outputs, copy.outputs):
            made[old] = new
            backward.unique(old.name or "")  # the passes' names are not to be these
        backward.graph.append(copy)
        if node.domain:
            backward.graph.opset_imports.setdefault(node.domain, 1)
    backward_outputs: dict[str, ir.Value] = {}
    for name, value in gradients.items():
        own = bring(value)
        plain = own.producer() is None or own in backward_outputs.values()
        backward_outputs[name] = backward.op("Identity", own) if plain else own

    for node in reversed([n for n in graph if n not in first]):
        graph.remove(node, safe=True)
    forward = Builder(graph)
    outputs: dict[str, ir.Value] = {}
    for name, value in {**results, **stash}.items():
        plain = value.producer() is None or value in outputs.values()
        outputs[name] = forward.op("Identity", value) if plain else value
    return Split(graph, outputs, backward.graph, backward_outputs)

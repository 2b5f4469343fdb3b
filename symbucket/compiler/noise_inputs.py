"""Noise becomes inputs: random numbers are drawn on the host before each run.

The generators of the runtime restart whenever a session is made, so a network that was evicted and
comes back would see the same masks again. Numbers that come in from outside are a function of the
seed, the step and the node alone, and numpy draws them several times as fast.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.ports import PortedGraph, PortId, Role
from symbucket.ir import OWN_DOMAIN, Builder, attribute_of, dtype_of, is_op, shape_of


@dataclass(frozen=True)
class NoiseInput:
    """What to draw for an input with the role NOISE.

    Attributes:
        name: the tensor's name in the model.
        distribution: "uniform" (0 up to below 1), "normal" (0, 1) or "bernoulli".
        probability: of true, for "bernoulli"; 0.0 otherwise.
        stream: the number of the first node that reads the input, among those that draw.
    """

    name: str
    distribution: str
    probability: float
    stream: int


def noise_to_inputs(ported: PortedGraph, training: bool) -> list[NoiseInput]:
    """Replace every node of noise by an input; nodes that draw alike share one.

    Nodes with equal distributions and shapes (a mask for every time step) read equal parts of one
    input, so that later passes see a sequence.
    """
    nodes = [node for node in ported.graph if is_op(node, "Noise", domain=OWN_DOMAIN)]
    alike: dict[object, list[ir.Node]] = defaultdict(list)
    for node in nodes:
        distribution, probability = _distribution(node)
        alike[distribution, probability, shape_of(node.outputs[0])].append(node)
    inputs = []
    for group in alike.values():
        port, value = _input_for(ported, group, training)
        inputs.append(port)
        _read_parts(ported.graph, value, group)
    for node in nodes:
        ported.graph.remove(node, safe=True)
    return inputs


def _input_for(
    ported: PortedGraph, nodes: list[ir.Node], training: bool
) -> tuple[NoiseInput, ir.Value]:
    first = nodes[0]
    stream = attribute_of(first, "stream")
    # What inference draws must not take the place of what a backward is still to read.
    port = PortId(Role.NOISE, f"{'training' if training else 'inference'}/{stream}")
    shape = shape_of(first.outputs[0])
    if len(nodes) > 1:
        shape = (len(nodes), *shape)
    value = Builder(ported.graph).input(port.name, shape, dtype_of(first.outputs[0]))
    ported.inputs[value] = port
    return NoiseInput(port.name, *_distribution(first), stream), value


def _distribution(node: ir.Node) -> tuple[str, float]:
    return attribute_of(node, "distribution"), attribute_of(node, "probability") or 0.0


def _read_parts(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    """Make the users of ``nodes`` read the parts of ``value``, in order."""
    if len(nodes) == 1:
        nodes[0].outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
        return
    g = Builder(graph, anchor=nodes[0])
    with g.scoped(value.name or ""):
        parts = g.ops("Split", value, outputs=len(nodes), axis=0, num_outputs=len(nodes))
        for node, part in zip(nodes, parts):
            whole = g.reshape(part, shape_of(node.outputs[0]))
            node.outputs[0].replace_all_uses_with(whole, replace_graph_outputs=True)

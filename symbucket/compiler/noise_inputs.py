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
    """Description of what is drawn for an input with the role NOISE.

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
        alike[_distribution(node), _shape_of_draw(node)].append(node)
    inputs = []
    for group in alike.values():
        streams = sorted({stream for node in group for stream in _streams(node)})
        port, value = _input_for(ported, group[0], streams, training)
        inputs.append(port)
        _read_parts(ported.graph, value, group, streams)
    for node in nodes:
        ported.graph.remove(node, safe=True)
    return inputs


def _streams(node: ir.Node) -> list[int]:
    """The streams of a node's draws: one, or one for each step of a loop."""
    if _is_stack(node):
        return list(attribute_of(node, "streams"))
    return [attribute_of(node, "stream")]


def _is_stack(node: ir.Node) -> bool:
    return "streams" in node.attributes


def _shape_of_draw(node: ir.Node) -> tuple[int, ...]:
    shape = shape_of(node.outputs[0])
    return shape[1:] if _is_stack(node) else shape


def _input_for(
    ported: PortedGraph, model: ir.Node, streams: list[int], training: bool
) -> tuple[NoiseInput, ir.Value]:
    # What inference draws must not take the place of what a backward is still to read.
    port = PortId(Role.NOISE, f"{'training' if training else 'inference'}/{streams[0]}")
    shape = _shape_of_draw(model)
    if len(streams) > 1:
        shape = (len(streams), *shape)
    value = Builder(ported.graph).input(port.name, shape, dtype_of(model.outputs[0]))
    ported.inputs[value] = port
    return NoiseInput(port.name, *_distribution(model), streams[0]), value


def _distribution(node: ir.Node) -> tuple[str, float]:
    return attribute_of(node, "distribution"), attribute_of(node, "probability") or 0.0


def _read_parts(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node], streams: list[int]) -> None:
    """Make the users of ``nodes`` read the parts of ``value``, one for each stream."""
    g = Builder(graph, anchor=nodes[0])
    single = [node for node in nodes if not _is_stack(node)]
    with g.scoped(value.name or ""):
        if len(single) == len(streams) > 1:
            parts = g.ops("Split", value, outputs=len(streams), axis=0, num_outputs=len(streams))
            for node in single:
                part = parts[streams.index(_streams(node)[0])]
                whole = g.reshape(part, shape_of(node.outputs[0]))
                node.outputs[0].replace_all_uses_with(whole, replace_graph_outputs=True)
            return
        for node in nodes:
            places = [streams.index(stream) for stream in _streams(node)]
            whole = value
            if places != list(range(len(streams))):  # also where steps share what nobody reads
                whole = g.op("Gather", value, g.ints(*places), axis=0)
            whole = g.reshape(whole, shape_of(node.outputs[0]))
            node.outputs[0].replace_all_uses_with(whole, replace_graph_outputs=True)

"""If, Scan and Loop of foreign graphs, with gradients.

The bodies are graphs of their own, so these are no translations of a node alone: whoever interprets
the graph around them hands in how to write a body (``Bodies``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import const_of, shape_of
from symbucket.ops.branches import choose
from symbucket.ops.loop_body import repeat
from symbucket.ops.record import Emitter
from symbucket.ops.step_numbers import numbers_of_steps

Values = Mapping[str, ir.Value]
Inputs = Sequence["ir.Value | None"]
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True)
class Bodies:
    """Surroundings of a node with bodies.

    Attributes:
        values: the values of the graph around it, by name.
        write: appends the nodes of a body over the values by name; returns its outputs.
    """

    values: Values
    write: Callable[[onnx.GraphProto, Values], list[ir.Value]]


def emit_control_flow(
    g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies
) -> Sequence[ir.Value]:
    """Write an If, a Loop or a Scan; raises UnsupportedError for what sizes would depend on."""
    kinds = {"If": _if, "Loop": _loop, "Scan": _scan}
    return kinds[node.op_type](g, node, inputs, bodies)


def _if(g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies) -> Sequence[ir.Value]:
    graphs = [_attribute(node, name).g for name in ("then_branch", "else_branch")]
    assert inputs[0] is not None
    constant = const_of(inputs[0])
    if constant is not None:
        return bodies.write(graphs[0 if constant.reshape(-1)[0] else 1], bodies.values)
    names = [n for n in bodies.values if any(n in _reads(graph) for graph in graphs)]
    names = [n for n in names if const_of(bodies.values[n]) is None]

    def branch(graph: onnx.GraphProto) -> Callable[[Sequence[ir.Value]], list[ir.Value]]:
        return lambda inside: bodies.write(graph, {**bodies.values, **dict(zip(names, inside))})

    outside = [bodies.values[n] for n in names]
    return choose(g, "If", inputs[0], outside, branch(graphs[0]), branch(graphs[1]))


def _scan(g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies) -> Sequence[ir.Value]:
    body = _attribute(node, "body").g
    count = int(_attribute(node, "num_scan_inputs").i)
    values = [value for value in inputs if value is not None]
    states, sequences = values[: len(values) - count], values[len(values) - count :]
    stacks = len(node.output) - len(states)
    reads, writes = (
        list(_optional(node, f"scan_{kind}_directions")) or [0] * number
        for kind, number in (("input", count), ("output", stacks))
    )
    in_axes, out_axes = (
        list(_optional(node, f"scan_{kind}_axes")) or [0] * number
        for kind, number in (("input", count), ("output", stacks))
    )
    sequences = [_axis_first(g, x, axis) for x, axis in zip(sequences, in_axes)]
    names = [value.name for value in body.input]
    first = g.draw_numbers

    def step(
        states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        g.draw_numbers = numbers_of_steps(first, [t + 1 for t in steps])
        results = bodies.write(body, {**bodies.values, **dict(zip(names, (*states, *slices)))})
        g.draw_numbers = first
        return results[: len(states)], results[len(states) :]

    length = shape_of(sequences[0])[0]
    after, outputs = repeat(g, length, states, sequences, step, reads, writes)
    moved = [_axis_back(g, x, axis) for x, axis in zip(outputs, out_axes)]
    return [*after, *moved]


def _loop(g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies) -> Sequence[ir.Value]:
    body = _attribute(node, "body").g
    trips = None if inputs[0] is None else const_of(inputs[0])
    if trips is None:
        raise UnsupportedError(
            "how often the Loop runs depends on data or has no bound; give it a constant maximum"
        )
    most = int(trips.reshape(-1)[0])
    states = [value for value in inputs[2:] if value is not None]
    begins = inputs[1] if len(inputs) > 1 else None
    constant = True if begins is None else const_of(begins)
    runs = most > 0 and (constant is None or bool(np.all(constant)))
    stacks = len(node.output) - len(states)
    if not runs:
        if stacks:
            raise UnsupportedError("the Loop runs not once, and its stacked outputs are empty")
        return states
    ends = not (constant is not None and _goes_on(body))
    if ends and stacks:
        raise UnsupportedError(
            "how many rows the Loop stacks depends on data: its condition may end it earlier; "
            "return states alone, or count the steps"
        )
    names = [value.name for value in body.input]
    first = g.draw_numbers

    def run(number: ir.Value, states: Sequence[ir.Value], steps: Sequence[int]) -> list[ir.Value]:
        g.draw_numbers = numbers_of_steps(first, [t + 1 for t in steps])
        own = dict(zip(names, (number, g.const(np.array(True)), *states)))
        results = bodies.write(body, {**bodies.values, **own})
        g.draw_numbers = first
        return results

    def counted(
        states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        results = run(slices[0], states, steps)
        return results[1 : 1 + len(states)], results[1 + len(states) :]

    def guarded(
        states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        is_running, *rest = states
        outside = [
            n for n in bodies.values if n in _reads(body) and const_of(bodies.values[n]) is None
        ]
        read = [*rest, slices[0], *(bodies.values[n] for n in outside)]

        def go(inside: Sequence[ir.Value]) -> list[ir.Value]:
            own = dict(zip(names[2:], inside))
            own |= {names[0]: inside[len(rest)], names[1]: g.const(np.array(True))}
            own |= dict(zip(outside, inside[len(rest) + 1 :]))
            condition, *after = bodies.write(body, {**bodies.values, **own})
            return [g.reshape(condition, (1,)), *after]

        def stay(inside: Sequence[ir.Value]) -> list[ir.Value]:
            return [g.const(np.array([False])), *inside[: len(rest)]]

        return choose(g, "Loop", is_running, read, go, stay), []

    number = g.const(np.arange(most, dtype=np.int64))
    if not ends:
        after, outputs = repeat(g, most, states, [number], counted)
        return [*after, *outputs]
    begin = g.const(np.array([True]))
    if begins is not None and constant is None:
        begin = g.cast(g.reshape(begins, (1,)), ir.DataType.BOOL)
    after, _ = repeat(g, most, [begin, *states], [number], guarded)
    return after[1:]


def _goes_on(body: onnx.GraphProto) -> bool:
    """Return whether a body returns the condition that it gets, or a constant true."""
    producers = {out: node for node in body.node for out in node.output}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in body.initializer}
    name = body.output[0].name
    while name in producers and producers[name].op_type in ("Identity", "Cast"):
        name = producers[name].input[0]
    node = producers.get(name)
    if node is not None and node.op_type == "Constant":
        (value,) = node.attribute
        return value.HasField("t") and bool(np.all(onnx.numpy_helper.to_array(value.t)))
    return name == body.input[1].name or bool(np.all(constants.get(name, False)))


def _reads(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph and those inside it read; its own values may be among them."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= _reads(attribute.g)
    return names


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    (attribute,) = (a for a in node.attribute if a.name == name)
    return attribute


def _optional(node: onnx.NodeProto, name: str) -> Sequence[int]:
    return next((a.ints for a in node.attribute if a.name == name), ())


def _axis_first(g: Emitter, x: ir.Value, axis: int) -> ir.Value:
    rank = len(shape_of(x))
    axis %= rank
    return g.transpose(x, [axis, *(i for i in range(rank) if i != axis)])


def _axis_back(g: Emitter, x: ir.Value, axis: int) -> ir.Value:
    rank = len(shape_of(x))
    axis %= rank
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    return g.transpose(x, order)

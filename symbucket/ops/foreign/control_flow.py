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

from symbucket.errors import ShapeError, UnsupportedError
from symbucket.ir import const_of, shape_of
from symbucket.ops.branches import choose
from symbucket.ops.foreign.attributes import graph_of, int_of, ints_of
from symbucket.ops.foreign.sequences import Item, tensor_of
from symbucket.ops.loop_body import repeat
from symbucket.ops.record import Emitter
from symbucket.ops.step_numbers import numbers_of_steps

Values = Mapping[str, Item]
Inputs = Sequence["Item | None"]
_MOST_STEPS = 1000  # of a Loop whose steps are written one after another
Tensors = Sequence["ir.Value | None"]
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass(frozen=True)
class Bodies:
    """Surroundings of a node with bodies.

    Attributes:
        values: the values of the graph around it, by name.
        write: appends the nodes of a body over the values by name; returns its outputs.
    """

    values: Values
    write: Callable[[onnx.GraphProto, Values], list[Item]]

    def tensors(self, body: onnx.GraphProto, values: Values) -> list[ir.Value]:
        """Write a body whose outputs must be tensors."""
        outputs = zip(body.output, self.write(body, values))
        return [tensor_of(value, f"the result {out.name!r} of a body") for out, value in outputs]


def emit_control_flow(
    g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies
) -> Sequence[Item]:
    """Write an If, a Loop or a Scan; raises UnsupportedError for what sizes would depend on."""
    if node.op_type == "If":
        return _if(g, node, tensor_of(inputs[0], "the condition"), bodies)
    if node.op_type == "Loop" and not all(isinstance(x, (ir.Value, type(None))) for x in inputs):
        return _written_out(g, node, inputs, bodies)
    tensors = [None if x is None else tensor_of(x, f"input {i}") for i, x in enumerate(inputs)]
    if node.op_type == "Scan":
        return _scan(g, node, tensors, bodies)
    numbers = g.draw_numbers
    try:
        return _loop(g, node, tensors, bodies)
    except (UnsupportedError, ShapeError) as error:  # a Slice from the number of the step on
        trips = const_of(tensors[0])
        if trips is None or int(trips.reshape(-1)[0]) > _MOST_STEPS:
            raise
        g.draw_numbers = numbers
        try:
            return _written_out(g, node, inputs, bodies)
        except (UnsupportedError, ShapeError):
            raise error from None


def _if(g: Emitter, node: onnx.NodeProto, condition: ir.Value, bodies: Bodies) -> Sequence[Item]:
    graphs = [graph_of(node, name) for name in ("then_branch", "else_branch")]
    constant = const_of(condition)
    if constant is not None:
        return bodies.write(graphs[0 if constant.reshape(-1)[0] else 1], bodies.values)
    values = {n: v for n, v in bodies.values.items() if any(n in _reads(body) for body in graphs)}
    outside = {
        n: tensor_of(v, f"{n!r}, which a branch reads,")
        for n, v in values.items()
        if not isinstance(v, ir.Value) or const_of(v) is None
    }

    def branch(body: onnx.GraphProto) -> Callable[[Sequence[ir.Value]], list[ir.Value]]:
        return lambda inside: bodies.tensors(body, {**bodies.values, **dict(zip(outside, inside))})

    return choose(g, "If", condition, list(outside.values()), branch(graphs[0]), branch(graphs[1]))


def _scan(g: Emitter, node: onnx.NodeProto, inputs: Tensors, bodies: Bodies) -> Sequence[ir.Value]:
    body = graph_of(node, "body")
    count = int_of(node, "num_scan_inputs", 0)
    values = [value for value in inputs if value is not None]
    states, sequences = values[: len(values) - count], values[len(values) - count :]
    stacks = len(node.output) - len(states)
    reads, writes = (
        list(ints_of(node, f"scan_{kind}_directions")) or [0] * number
        for kind, number in (("input", count), ("output", stacks))
    )
    in_axes, out_axes = (
        list(ints_of(node, f"scan_{kind}_axes")) or [0] * number
        for kind, number in (("input", count), ("output", stacks))
    )
    sequences = [_axis_first(g, x, axis) for x, axis in zip(sequences, in_axes)]
    names = [value.name for value in body.input]
    first = g.draw_numbers

    def step(
        states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        g.draw_numbers = numbers_of_steps(first, [t + 1 for t in steps])
        results = bodies.tensors(body, {**bodies.values, **dict(zip(names, (*states, *slices)))})
        g.draw_numbers = first
        return results[: len(states)], results[len(states) :]

    length = shape_of(sequences[0])[0]
    after, outputs = repeat(g, length, states, sequences, step, reads, writes)
    moved = [_axis_back(g, x, axis) for x, axis in zip(outputs, out_axes)]
    return [*after, *moved]


def _loop(g: Emitter, node: onnx.NodeProto, inputs: Tensors, bodies: Bodies) -> Sequence[ir.Value]:
    trips = None if inputs[0] is None else const_of(inputs[0])
    if trips is None:
        raise UnsupportedError(
            "how often the Loop runs depends on data or has no bound; give it a constant maximum"
        )
    most = int(trips.reshape(-1)[0])
    states = [value for value in inputs[2:] if value is not None]
    begins = inputs[1] if len(inputs) > 1 else None
    constant = True if begins is None else const_of(begins)
    stacks = len(node.output) - len(states)
    if most <= 0 or not (constant is None or np.all(constant)):
        if stacks:
            raise UnsupportedError("the Loop runs not once, and its stacked outputs are empty")
        return states
    loop = _LoopBody(g, graph_of(node, "body"), bodies)
    number = g.const(np.arange(most, dtype=np.int64))
    if constant is not None and _goes_on(loop.body):
        after, outputs = repeat(g, most, states, [number], loop.counted)
        return [*after, *outputs]
    if stacks:
        raise UnsupportedError(
            "how many rows the Loop stacks depends on data: its condition may end it earlier; "
            "return states alone, or count the steps"
        )
    begin = g.const(np.array([True]))
    if begins is not None and constant is None:
        begin = g.cast(g.reshape(begins, (1,)), ir.DataType.BOOL)
    after, _ = repeat(g, most, [begin, *states], [number], loop.guarded)
    return after[1:]


class _LoopBody:
    """One step of a Loop, as ``repeat`` takes it."""

    def __init__(self, g: Emitter, body: onnx.GraphProto, bodies: Bodies) -> None:
        self.body = body
        self._g, self._bodies = g, bodies
        self._names = [value.name for value in body.input]
        self._first_draws = g.draw_numbers

    def counted(
        self, states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """Write a step that is followed by the next one, until all are done."""
        g = self._g
        g.draw_numbers = numbers_of_steps(self._first_draws, [t + 1 for t in steps])
        own = dict(zip(self._names, (slices[0], g.const(np.array(True)), *states)))
        results = self._bodies.tensors(self.body, {**self._bodies.values, **own})
        g.draw_numbers = self._first_draws
        return results[1 : 1 + len(states)], results[1 + len(states) :]

    def guarded(
        self, states: Sequence[ir.Value], slices: Sequence[ir.Value], steps: Sequence[int]
    ) -> tuple[list[ir.Value], list[ir.Value]]:
        """Write a step that does nothing once the condition, the first state, is false."""
        g, bodies = self._g, self._bodies
        is_running, *rest = states
        around = {n: v for n, v in bodies.values.items() if n in _reads(self.body)}
        tensors = {n: tensor_of(v, f"{n!r}, which the body reads,") for n, v in around.items()}
        outside = [n for n, v in tensors.items() if const_of(v) is None]
        read = [*rest, slices[0], *(tensors[n] for n in outside)]

        def go(inside: Sequence[ir.Value]) -> list[ir.Value]:
            number, condition, *names = self._names
            own = dict(zip(names, inside))
            own |= {number: inside[len(rest)], condition: g.const(np.array(True))}
            own |= dict(zip(outside, inside[len(rest) + 1 :]))
            goes_on, *after = bodies.tensors(self.body, {**bodies.values, **own})
            return [g.reshape(goes_on, (1,)), *after]

        def stay(inside: Sequence[ir.Value]) -> list[ir.Value]:
            return [g.const(np.array([False])), *inside[: len(rest)]]

        return choose(g, "Loop", is_running, read, go, stay), []


def _written_out(
    g: Emitter, node: onnx.NodeProto, inputs: Inputs, bodies: Bodies
) -> Sequence[Item]:
    """Write the steps of a Loop one after another, so that their numbers are constants."""
    body = graph_of(node, "body")
    trips = None if inputs[0] is None else const_of(tensor_of(inputs[0], "the trip count"))
    begins = inputs[1] if len(inputs) > 1 else None
    goes_on = True if begins is None else const_of(tensor_of(begins, "the condition"))
    states = [value for value in inputs[2:] if value is not None]
    names = [value.name for value in body.input]
    rows: list[list[ir.Value]] = []
    most = _MOST_STEPS if trips is None else int(trips.reshape(-1)[0])
    for step in range(most):
        if goes_on is not None and not np.all(goes_on):
            break
        if goes_on is None or step == _MOST_STEPS:
            raise UnsupportedError(
                "how often the Loop runs must follow from constants if it carries sequences; it is "
                f"at most {_MOST_STEPS} times"
            )
        own: list[Item] = [g.const(np.array(step, np.int64)), g.const(np.array(True)), *states]
        condition, *after = bodies.write(body, {**bodies.values, **dict(zip(names, own))})
        goes_on = const_of(tensor_of(condition, "the condition"))
        states = after[: len(states)]
        rows.append([tensor_of(x, "a stacked result") for x in after[len(states) :]])
    stacks = [
        g.op("Concat", *(g.reshape(x, (1, *shape_of(x))) for x in column), axis=0)
        for column in zip(*rows)
    ]
    return [*states, *stacks]


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


def _axis_first(g: Emitter, x: ir.Value, axis: int) -> ir.Value:
    rank = len(shape_of(x))
    axis %= rank
    return g.transpose(x, [axis, *(i for i in range(rank) if i != axis)])


def _axis_back(g: Emitter, x: ir.Value, axis: int) -> ir.Value:
    rank = len(shape_of(x))
    axis %= rank
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    return g.transpose(x, order)

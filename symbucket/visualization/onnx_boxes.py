"""Boxes and edges of ONNX nodes, and of the bodies of their loops.

The body of a Scan is drawn as a part of the network around it: its nodes read what the loop reads,
and an edge goes back from what a step hands on to what reads it in the next step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import onnx

from symbucket.ops.foreign.attributes import int_of
from symbucket.visualization.diagram import (
    BACKWARD,
    FORWARD,
    OUTPUT,
    PARAMETER,
    PHASES,
    UPDATE,
    Box,
    Edge,
    Loop,
    Statistics,
    Value,
)
from symbucket.visualization.operations import operations

_MAX_ATTRIBUTE = 80  # characters of an attribute that are shown
_RECURRENT = ("LSTM", "GRU", "RNN")
Origin = tuple[int, int]
"""A value: the number of its box, and which output of it."""


class OnnxBoxes:
    """Boxes and edges while they are collected.

    ``values``: what is known of the graph's values, by name. ``origins``: where they come from.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values
        self.boxes: list[Box] = []
        self.edges: list[Edge] = []
        self.origins: dict[str, Origin] = {}

    def source(
        self, name: str, kind: str, measure: Callable[[], Statistics | None] | None = None
    ) -> None:
        """Add an input of the graph, or a stored tensor and what measures its values."""
        param = name if kind == PARAMETER else ""
        self.origins[name] = (len(self.boxes), 0)
        values = (self.values.get(name, Value(name)),)
        self.boxes.append(Box(name, "", kind, name, values, {}, param, measure=measure))

    def output(self, name: str, parameter: str) -> None:
        """Add an output of the graph, which is the gradient of a parameter, or of none ("")."""
        if name not in self.origins:
            return  # a constant has no box
        source, i = self.origins[name]
        self.edges.append(Edge(source, len(self.boxes), i))
        self.boxes.append(
            Box(name, "", OUTPUT, name, (self.values.get(name, Value(name)),), {}, parameter)
        )

    def node(self, node: onnx.NodeProto) -> None:
        """Add a node; a loop with what is in it."""
        body = next((a.g for a in node.attribute if a.name == "body"), None)
        if node.op_type == "Scan" and body is not None and body.node:
            _Body(self, node, body).add()
            return
        number = self.add(node, self.origins, self.values, self.kind(node))
        self.origins.update({n: (number, i) for i, n in enumerate(node.output) if n})

    def add(
        self,
        node: onnx.NodeProto,
        origins: Mapping[str, Origin],
        values: Mapping[str, Value],
        kind: str,
        loop: Loop | None = None,
    ) -> int:
        """Add a node as a box that reads what ``origins`` has of its inputs; return its number."""
        number = len(self.boxes)
        name = name_of(node)
        attributes = {a.name: _attribute(a) for a in node.attribute}
        op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        inputs = [values.get(n, Value(n)) for n in node.input if n]
        outputs = tuple(values.get(n, Value(n)) for n in node.output)
        count = operations(op, inputs, outputs, attributes)
        if count is not None and loop is not None:
            count *= max(loop.steps, 1)
        steps = (inputs[0].shape or (0,))[0] if node.op_type in _RECURRENT and inputs else 0
        self.boxes.append(
            Box(
                name,
                op,
                kind,
                name.rpartition("/")[0],
                outputs,
                attributes,
                operations=count,
                steps=steps if isinstance(steps, int) else 0,
                loop=loop,
            )
        )
        read = dict.fromkeys(origins[n] for n in _inputs(node) if n in origins)
        self.edges += [Edge(source, number, i) for source, i in read]
        return number

    def kind(self, node: onnx.NodeProto) -> str:
        """Return the phase of a node: that of its name, or a later one of what it reads."""
        phases = [FORWARD]
        if name_of(node).startswith("grad/"):
            phases.append(BACKWARD)
        elif name_of(node).startswith("update/"):
            phases.append(UPDATE)
        # A sum or copy of gradients is part of the backward half, whatever its name.
        read = (self.origins[n][0] for n in _inputs(node) if n in self.origins)
        phases += [kind for i in read if (kind := self.boxes[i].kind) in PHASES]
        return max(phases, key=PHASES.index)


class _Body:
    """The body of a Scan.

    It takes the states first, then one slice of each sequence, and returns the next states, then
    what is stacked over the steps.
    """

    def __init__(self, parts: OnnxBoxes, node: onnx.NodeProto, body: onnx.GraphProto) -> None:
        self.parts, self.node, self.body = parts, node, body
        sequences = int_of(node, "num_scan_inputs", 0)
        states = max(len(node.input) - sequences, 0)
        inputs, self.results = [v.name for v in body.input], [v.name for v in body.output]
        self.states = inputs[:states]
        self.next_state = dict(zip(self.states, self.results))
        lengths = (parts.values.get(n, Value(n)).shape for n in node.input[states:])
        steps = next((shape[0] for shape in lengths if shape), 0)
        self.loop = Loop(name_of(node), steps if isinstance(steps, int) else 0)
        outside = parts.origins
        self.origins = {n: origin for n, origin in outside.items() if n not in inputs}
        self.origins |= {i: outside[n] for i, n in zip(inputs, node.input) if n in outside}

    def add(self) -> None:
        """Add the boxes of the body, and edges from step to step."""
        parts = self.parts
        kind, values = parts.kind(self.node), {**parts.values, **values_of(self.body)}
        readers: dict[str, list[int]] = {state: [] for state in self.states}
        for step in self.body.node:
            number = parts.add(step, self.origins, values, kind, self.loop)
            for state in dict.fromkeys(n for n in _inputs(step) if n in readers):
                readers[state].append(number)
            self.origins.update({n: (number, i) for i, n in enumerate(step.output) if n})
        for state, boxes in readers.items():
            source, i = self.origins.get(self.next_state.get(state, ""), (-1, 0))
            if source >= 0 and parts.boxes[source].loop == self.loop:
                parts.edges += [Edge(source, target, i, carried=True) for target in boxes]
        for result, name in zip(self.results, self.node.output):
            # The states before all steps come from where the states after all steps do.
            origin = self.origins.get(self.next_state.get(result, result))
            if name and origin is not None:
                parts.origins[name] = self._whole(origin, name)

    def _whole(self, origin: Origin, name: str) -> Origin:
        """Return a new output of a box: what all steps leave together, or the last one."""
        number, _ = origin
        box = self.parts.boxes[number]
        if box.loop != self.loop:
            return origin  # handed through
        outputs = (*box.outputs, self.parts.values.get(name, Value(name)))
        self.parts.boxes[number] = replace(box, outputs=outputs)
        return number, len(outputs) - 1


def name_of(node: onnx.NodeProto) -> str:
    """Return the name of a node; without one, that of its first output."""
    name: str = node.name or next(iter(node.output), node.op_type)
    return name


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the inputs of a node, with those of its inner graphs."""
    yield from (n for n in node.input if n)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _inputs(inner)


def values_of(graph: onnx.GraphProto) -> dict[str, Value]:
    """Return what a graph says about its values, by name."""
    values = {t.name: Value(t.name, _dtype(t.data_type), tuple(t.dims)) for t in graph.initializer}
    for value in [*graph.value_info, *graph.output, *graph.input]:
        tensor = value.type.tensor_type
        shape: tuple[int | str | None, ...] | None = None
        if tensor.HasField("shape"):
            shape = tuple(
                d.dim_value if d.HasField("dim_value") else d.dim_param or None
                for d in tensor.shape.dim
            )
        values[value.name] = Value(value.name, _dtype(tensor.elem_type), shape)
    return values


def _dtype(number: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(number)) if number else ""
    except KeyError:
        return ""


def _attribute(attribute: onnx.AttributeProto) -> str:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        size = math.prod(value.dims)
        shown = f"{size} values"
        if size <= 8 and not value.external_data:
            shown = str(np.asarray(onnx.numpy_helper.to_array(value)).tolist())
    elif isinstance(value, onnx.GraphProto):
        shown = f"graph of {len(value.node)} nodes"
    elif isinstance(value, bytes):
        shown = value.decode("utf-8", "replace")
    elif isinstance(value, (list, tuple)):
        shown = ", ".join(str(v) for v in value[:16]) + (", ..." if len(value) > 16 else "")
    else:
        shown = str(value)
    return shown if len(shown) <= _MAX_ATTRIBUTE else shown[: _MAX_ATTRIBUTE - 3] + "..."

"""The diagram of an ONNX model: a compiled program, an exported file, any other model."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from symbucket.compiler import Program, Role
from symbucket.compiler.ports import PortId
from symbucket.visualization.diagram import (
    BACKWARD,
    DATA,
    OUTPUT,
    PARAMETER,
    PHASES,
    STATE,
    UPDATE,
    Box,
    Diagram,
    Edge,
    Value,
)

_GRADIENTS = (Role.GRAD, Role.ROWS, Role.VALUES)
_CONSTANT = re.compile(r"const(_\d+)?")
_PARAMETER = re.compile(r".*_(weight|bias|gamma|beta|parameters|alpha)")
_STATE = re.compile(r".*_(moving_mean|moving_var|moving_inv_var)")
_MAX_ATTRIBUTE = 80  # characters of an attribute that are shown


def from_program(
    program: Program, kinds: Mapping[str, str] | None = None, title: str = ""
) -> Diagram:
    """Return the diagram of a compiled program, as ``from_onnx`` does."""
    ports = [PortId(port.role, port.of) for port in (*program.inputs, *program.outputs)]
    return _diagram(program.proto(), kinds or {}, title, ports)


def from_onnx(
    model: onnx.ModelProto, kinds: Mapping[str, str] | None = None, title: str = ""
) -> Diagram:
    """Return the diagram of a model, without its constants.

    ``kinds`` says which inputs are "parameter", "state" or "data". Other inputs are classified by
    the outputs (a gradient of P makes P a parameter) and by their names. Backward nodes are those
    whose names begin with ``grad/``, nodes of an update begin with ``update/``; so is every node
    that depends on one.
    """
    return _diagram(model, kinds or {}, title, _ports_by_name(model.graph))


def _ports_by_name(graph: onnx.GraphProto) -> list[PortId]:
    """Return the gradients and next states among the outputs; a file has only names for them."""
    outputs = {value.name for value in graph.output}
    ports = [
        PortId(role, value.name) for value in graph.input for role in (*_GRADIENTS, Role.NEXT_STATE)
    ]
    return [port for port in ports if port.name in outputs]


def _diagram(
    model: onnx.ModelProto, kinds: Mapping[str, str], title: str, ports: Sequence[PortId]
) -> Diagram:
    graph = model.graph
    values = _values(graph)
    makers = {name: node for node in graph.node for name in node.output if name}
    if any(values.get(n, _NOTHING).shape is None for n in makers):
        values = {**_inferred(model), **{n: v for n, v in values.items() if v.shape is not None}}
    stored = {t.name: t for t in graph.initializer}
    parts = _Parts(values)
    kinds = {**_kinds_of(ports), **kinds}
    for value in graph.input:
        if value.name not in stored:
            parts.source(value.name, kinds.get(value.name) or _kind_by_name(value.name))
    for tensor in graph.initializer:
        if not _is_constant(tensor):
            parts.source(tensor.name, kinds.get(tensor.name, PARAMETER))
    for node in graph.node:
        if any(node.input) or node.op_type != "Constant":
            parts.node(node)
    parameters = {port.name: port.of for port in ports if port.role in _GRADIENTS}
    for value in graph.output:
        parts.output(value.name, parameters.get(value.name, ""))
    return Diagram(title or graph.name or "network", tuple(parts.boxes), tuple(parts.edges))


_NOTHING = Value("")


class _Parts:
    """Boxes and edges while they are collected."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values
        self.boxes: list[Box] = []
        self.edges: list[Edge] = []
        self.origins: dict[str, tuple[int, int]] = {}

    def _value(self, name: str) -> Value:
        return self.values.get(name, Value(name))

    def source(self, name: str, kind: str) -> None:
        param = name if kind == PARAMETER else ""
        self.origins[name] = (len(self.boxes), 0)
        self.boxes.append(Box(name, "", kind, name, (self._value(name),), {}, param))

    def node(self, node: onnx.NodeProto) -> None:
        number = len(self.boxes)
        name = node.name or next(iter(node.output), node.op_type)
        read = [self.origins[n] for n in _inputs(node) if n in self.origins]
        phase = max((PHASES.index(k) for k in self._kinds(name, read)), default=0)
        scope = name.rpartition("/")[0]
        outputs = tuple(self._value(n) for n in node.output)
        attributes = {a.name: _attribute(a) for a in node.attribute}
        op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        self.boxes.append(Box(name, op, PHASES[phase], scope, outputs, attributes))
        self.edges += [Edge(source, number, i) for source, i in dict.fromkeys(read)]
        self.origins.update({n: (number, i) for i, n in enumerate(node.output) if n})

    def _kinds(self, name: str, read: list[tuple[int, int]]) -> Iterator[str]:
        if name.startswith("grad/"):
            yield BACKWARD
        elif name.startswith("update/"):
            yield UPDATE
        # A sum or copy of gradients is part of the backward half, whatever its name.
        yield from (k for k in (self.boxes[i].kind for i, _ in read) if k in PHASES)

    def output(self, name: str, parameter: str) -> None:
        if name not in self.origins:
            return  # a constant has no box
        source, i = self.origins[name]
        self.edges.append(Edge(source, len(self.boxes), i))
        self.boxes.append(Box(name, "", OUTPUT, name, (self._value(name),), {}, parameter))


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the inputs of a node, with those of its inner graphs."""
    yield from (n for n in node.input if n)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield from _inputs(inner)


def _kinds_of(ports: Sequence[PortId]) -> dict[str, str]:
    """Return the kinds of the inputs that the ports tell."""
    kinds = {port.of: PARAMETER for port in ports if port.role in _GRADIENTS}
    states = (Role.STATE, Role.NEXT_STATE)
    return {**kinds, **{port.of: STATE for port in ports if port.role in states}}


def _kind_by_name(name: str) -> str:
    if _STATE.fullmatch(name):
        return STATE
    return PARAMETER if _PARAMETER.fullmatch(name) else DATA


def _is_constant(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor is a size, an axis or a scalar, in contrast to a parameter."""
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    plain = tensor.data_type not in (*floats, onnx.TensorProto.BFLOAT16)
    return plain or not tensor.dims or _CONSTANT.fullmatch(tensor.name) is not None


def _values(graph: onnx.GraphProto) -> dict[str, Value]:
    values = {t.name: Value(t.name, _dtype(t.data_type), tuple(t.dims)) for t in graph.initializer}
    for value in [*graph.value_info, *graph.output, *graph.input]:
        tensor = value.type.tensor_type
        shape: tuple[Any, ...] | None = None
        if tensor.HasField("shape"):
            shape = tuple(
                d.dim_value if d.HasField("dim_value") else d.dim_param or None
                for d in tensor.shape.dim
            )
        values[value.name] = Value(value.name, _dtype(tensor.elem_type), shape)
    return values


def _inferred(model: onnx.ModelProto) -> dict[str, Value]:
    """Return the shapes that the model itself lacks."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # a picture without some shapes is better than none
        return {}
    return _values(inferred.graph)


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

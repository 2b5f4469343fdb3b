"""The diagram of an ONNX model: a compiled program, an exported file, any other model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import onnx

from symbucket.compiler import Program, Role
from symbucket.compiler.ports import PortId
from symbucket.visualization.diagram import (
    DATA,
    PARAMETER,
    STATE,
    Diagram,
    Statistics,
    Value,
)
from symbucket.visualization.onnx_boxes import OnnxBoxes, values_of
from symbucket.visualization.statistics import statistics_of

_GRADIENTS = (Role.GRAD, Role.ROWS, Role.VALUES)
_CONSTANT = re.compile(r"const(_\d+)?")
_PARAMETER = re.compile(r".*_(weight|bias|gamma|beta|parameters|alpha)")
_STATE = re.compile(r".*_(moving_mean|moving_var|moving_inv_var)")


def from_program(
    program: Program, kinds: Mapping[str, str] | None = None, title: str = ""
) -> Diagram:
    """Return the diagram of a compiled program, as ``from_onnx`` does."""
    ports = [PortId(port.role, port.of) for port in (*program.inputs, *program.outputs)]
    return _diagram(program.proto(), kinds or {}, title, ports)


def from_onnx(
    model: onnx.ModelProto,
    kinds: Mapping[str, str] | None = None,
    title: str = "",
    folder: Path | None = None,
) -> Diagram:
    """Return the diagram of a model, without its constants.

    ``kinds`` says which inputs are "parameter", "state" or "data". Other inputs are classified by
    the outputs (a gradient of P makes P a parameter) and by their names. Backward nodes are those
    whose names begin with ``grad/``, nodes of an update begin with ``update/``; so is every node
    that depends on one. Stored parameters get statistics of their values; ``folder`` is where a
    model has those that are in files beside it.
    """
    return _diagram(model, kinds or {}, title, _ports_by_name(model.graph), folder)


def _ports_by_name(graph: onnx.GraphProto) -> list[PortId]:
    """Return the gradients and next states among the outputs; a file has only names for them."""
    outputs = {value.name for value in graph.output}
    ports = [
        PortId(role, value.name) for value in graph.input for role in (*_GRADIENTS, Role.NEXT_STATE)
    ]
    return [port for port in ports if port.name in outputs]


def _diagram(
    model: onnx.ModelProto,
    kinds: Mapping[str, str],
    title: str,
    ports: Sequence[PortId],
    folder: Path | None = None,
) -> Diagram:
    graph = model.graph
    values = values_of(graph)
    makers = {name: node for node in graph.node for name in node.output if name}
    if any(values.get(n, _NOTHING).shape is None for n in makers):
        values = {**_inferred(model), **{n: v for n, v in values.items() if v.shape is not None}}
    stored = {t.name: t for t in graph.initializer}
    parts = OnnxBoxes(values)
    kinds = {**_kinds_of(ports), **kinds}
    for value in graph.input:
        if value.name not in stored:
            parts.source(value.name, kinds.get(value.name) or _kind_by_name(value.name))
    for tensor in graph.initializer:
        if not _is_constant(tensor):
            kind = kinds.get(tensor.name, PARAMETER)
            parts.source(tensor.name, kind, cache(partial(_statistics, tensor, folder)))
    for node in graph.node:
        if any(node.input) or node.op_type != "Constant":
            parts.node(node)
    parameters = {port.name: port.of for port in ports if port.role in _GRADIENTS}
    for value in graph.output:
        parts.output(value.name, parameters.get(value.name, ""))
    return Diagram(title or graph.name or "network", tuple(parts.boxes), tuple(parts.edges))


_NOTHING = Value("")


def _kinds_of(ports: Sequence[PortId]) -> dict[str, str]:
    """Return the kinds of the inputs that the ports tell."""
    kinds = {port.of: PARAMETER for port in ports if port.role in _GRADIENTS}
    states = (Role.STATE, Role.NEXT_STATE)
    return {**kinds, **{port.of: STATE for port in ports if port.role in states}}


def _kind_by_name(name: str) -> str:
    if _STATE.fullmatch(name):
        return STATE
    return PARAMETER if _PARAMETER.fullmatch(name) else DATA


def _statistics(tensor: onnx.TensorProto, folder: Path | None) -> Statistics | None:
    outside = tensor.data_location == onnx.TensorProto.EXTERNAL
    if outside and folder is None:
        return None
    try:
        return statistics_of(onnx.numpy_helper.to_array(tensor, str(folder or "")))
    except Exception:  # a file that lacks its values can be drawn all the same
        return None


def _is_constant(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor is a size, an axis or a scalar, in contrast to a parameter."""
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    plain = tensor.data_type not in (*floats, onnx.TensorProto.BFLOAT16)
    return plain or not tensor.dims or _CONSTANT.fullmatch(tensor.name) is not None


def _inferred(model: onnx.ModelProto) -> dict[str, Value]:
    """Return the shapes that the model itself lacks."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # a picture without some shapes is better than none
        return {}
    return values_of(inferred.graph)

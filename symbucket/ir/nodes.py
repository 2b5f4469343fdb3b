"""Questions about single nodes and values, and copies of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir

from symbucket.ir.notes import graph_notes, phase_of, set_phase
from symbucket.ir.registry import OPSET


def producer_of(value: ir.Value) -> ir.Node:
    """Return the node that computes a value.

    Raises:
        ValueError: if the value is an input or a constant of the graph.
    """
    node = value.producer()
    if node is None:
        raise ValueError(f"value {value.name!r} is computed by no node")
    return node


def input_of(node: ir.Node, index: int) -> ir.Value:
    """Return an input that the node must have.

    Raises:
        ValueError: if the input is absent.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}) has no input {index}")
    return value


def optional_input_of(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input, None if the node does not have it."""
    return node.inputs[index] if index < len(node.inputs) else None


def produced_by(value: ir.Value | None, op_type: str, domain: str = "") -> ir.Node | None:
    """Return the node that computes ``value`` if it is of this operator, else None."""
    node = None if value is None else value.producer()
    return node if node is not None and is_op(node, op_type, domain) else None


def is_op(node: ir.Node, op_type: str, domain: str = "") -> bool:
    """Return whether a node is of this operator."""
    return node.op_type == op_type and node.domain == domain


def scope_of(node: ir.Node) -> str:
    """Return the part of a node's name before the last slash: the layer that it belongs to."""
    return (node.name or "").rpartition("/")[0]


def dimensions_of(value: ir.Value) -> list[int | str]:
    """Return the sizes of a value's axes; the name of a size that is known only at run time."""
    return [size if isinstance(size, int) else str(size) for size in value.shape or ()]


def attribute_of(node: ir.Node, name: str) -> Any:
    """Return an attribute of a node; ONNX's default, or None, if the node does not set it."""
    attribute = node.attributes.get(name)
    return _default(node.op_type, node.domain, name) if attribute is None else attribute.value


@functools.cache
def _default(op_type: str, domain: str, name: str) -> Any:
    if not onnx.defs.has(op_type, OPSET, domain):
        return None
    attribute = onnx.defs.get_schema(op_type, OPSET, domain).attributes.get(name)
    if attribute is None or not attribute.default_value.name:
        return None
    value = onnx.helper.get_attribute_value(attribute.default_value)
    return value.decode() if isinstance(value, bytes) else value


def attributes_of(node: ir.Node) -> dict[str, Any]:
    """Return the attributes that a node sets, as a builder takes them."""
    return {name: attribute.value for name, attribute in node.attributes.items()}


def perm_of(node: ir.Node) -> list[int]:
    """Return the order of axes of a Transpose; without one they are reversed."""
    return list(attribute_of(node, "perm") or reversed(range(len(dimensions_of(node.outputs[0])))))


def copy_type(source: ir.Value, target: ir.Value) -> None:
    """Give ``target`` the name, shape and dtype of ``source``."""
    target.name, target.shape, target.type = source.name, source.shape, source.type


def copy_node(node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Node:
    """Return a node like ``node``, of its phase, that reads ``inputs``; it is in no graph yet.

    The branches of an If are copied, the body of a loop is the same.
    """
    attributes = [
        ir.AttrGraph(a.name, _copy_graph(a.value)) if node.op_type == "If" else a
        for a in node.attributes.values()
    ]
    copy = ir.Node(
        node.domain,
        node.op_type,
        inputs,
        attributes,
        num_outputs=len(node.outputs),
        name=node.name,
    )
    for old, new in zip(node.outputs, copy.outputs):
        copy_type(old, new)
    set_phase(copy, phase_of(node))
    return copy


def copy_into(graph: ir.Graph, source: ir.Graph) -> dict[ir.Value, ir.Value]:
    """Append inputs and nodes like those of ``source``; return the copy of each of its values."""
    copies: dict[ir.Value, ir.Value] = {}
    for value in source.inputs:
        copies[value] = ir.Value(name=value.name, shape=value.shape, type=value.type)
        graph.inputs.append(copies[value])
    for node in source:
        copy = copy_node(node, [None if v is None else copies.get(v, v) for v in node.inputs])
        copies.update(zip(node.outputs, copy.outputs))
        graph.append(copy)
    return copies


def _copy_graph(source: ir.Graph) -> ir.Graph:
    graph = ir.Graph([], [], nodes=[], opset_imports={}, name=source.name)
    graph_notes(graph).root = graph_notes(source).root
    copies = copy_into(graph, source)
    graph.outputs.extend(copies[value] for value in source.outputs)
    return graph

"""Reading a foreign ONNX graph node by node and writing it with the builder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from symbucket.checks import one_line
from symbucket.errors import ShapeError, SymbucketError, UnsupportedError
from symbucket.ir import info
from symbucket.ops.foreign.call import TRANSLATIONS, Call
from symbucket.ops.foreign.control_flow import CONTROL_FLOW, Bodies, emit_control_flow
from symbucket.ops.foreign.folding import fold
from symbucket.ops.foreign.reductions import REDUCTIONS, axes_as_input, special_reduction
from symbucket.ops.foreign.schemas import STANDARD, body_of, check_emitted, has_body, schema_of
from symbucket.ops.foreign.sequences import SEQUENCES, Item, tensor_of
from symbucket.ops.record import Emitter

Values = dict[str, Item]


def unknown_nodes(nodes: Iterable[onnx.NodeProto], opset: int) -> list[str]:
    """``name (domain::Operator)`` of every node, in bodies too, that cannot be written."""
    unknown = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH and node.op_type in CONTROL_FLOW:
                unknown += unknown_nodes(attribute.g.node, opset)
        schema = schema_of(node.op_type, opset, node.domain)
        if schema is None or not (node.domain in STANDARD or has_body(schema)):
            domain = "" if node.domain in STANDARD else f"{node.domain}::"
            unknown.append(f"{node.name or node.output[0]} ({domain}{node.op_type})")
    return unknown


def emit_graph(
    g: Emitter, graph: onnx.GraphProto, opset: int, inputs: Mapping[str, ir.Value]
) -> list[ir.Value]:
    """Write ``graph`` over the values of its ``inputs`` and return its outputs in order."""
    values: Values = dict(inputs)
    for tensor in graph.initializer:
        if tensor.name not in values:
            values[tensor.name] = g.const(onnx.numpy_helper.to_array(tensor))
    _emit_nodes(g, graph.node, values, opset, {})
    outputs = zip(graph.output, _outputs(graph, values))
    return [tensor_of(value, f"the output {out.name!r}") for out, value in outputs]


def _outputs(graph: onnx.GraphProto, values: Mapping[str, Item]) -> list[Item]:
    for out in graph.output:
        if out.name not in values:
            raise UnsupportedError(
                f"the output {out.name!r} of ONNX graph {graph.name!r} is one that symbucket does "
                "not compute (a mask, statistics), or no node computes it"
            )
    return [values[out.name] for out in graph.output]


def _emit_nodes(
    g: Emitter,
    nodes: Iterable[onnx.NodeProto],
    values: Values,
    opset: int,
    arguments: Mapping[str, ir.Attr],
) -> None:
    """``arguments``: the attributes of the node whose function body this is."""
    outer = g.scope
    for node in nodes:
        name = node.name or node.output[0]
        title = f"ONNX node {name!r} ({node.op_type} of opset {opset})"
        with g.scoped(f"{outer}/{name.lstrip('/')}"):
            try:
                results = _emit_node(g, node, values, opset, arguments)
            except SymbucketError as error:
                if f"ONNX node {name!r}" in str(error):
                    raise
                raise type(error)(f"{title}: {error}") from error
            except Exception as error:  # onnx's errors have no common base
                reason = one_line(error) or type(error).__name__
                raise ShapeError(f"{title}: {reason}") from error
        for output, value in zip(node.output, results):
            if output:
                values[output] = value


def _emit_node(
    g: Emitter,
    node: onnx.NodeProto,
    values: Values,
    opset: int,
    arguments: Mapping[str, ir.Attr],
) -> Sequence[Item]:
    absent = [name for name in node.input if name and name not in values]
    if absent:
        raise UnsupportedError(
            f"its input {absent[0]!r} is an output of a node that symbucket does not compute (a "
            "mask, statistics), or the graph has no such value"
        )
    inputs = [values[name] if name else None for name in node.input]

    def write(body: onnx.GraphProto, inside: Mapping[str, Item]) -> list[Item]:
        own = dict(inside)
        for tensor in body.initializer:
            own[tensor.name] = g.const(onnx.numpy_helper.to_array(tensor))
        _emit_nodes(g, body.node, own, opset, {})
        return _outputs(body, own)

    def write_for(body: onnx.GraphProto, inside: Sequence[Item]) -> list[Item]:
        return write(body, {**values, **dict(zip((v.name for v in body.input), inside))})

    if node.op_type in CONTROL_FLOW:
        return emit_control_flow(g, node, inputs, Bodies(values, write))
    if node.op_type in SEQUENCES:
        return SEQUENCES[node.op_type](g, node, inputs, write_for)
    if node.op_type == "Identity" and inputs[0] is not None:
        return [inputs[0]]
    tensors = [None if x is None else tensor_of(x, f"input {i}") for i, x in enumerate(inputs)]
    attrs = _attributes(node, arguments)
    domain = "" if node.domain in STANDARD else node.domain
    call = Call(node.op_type, node.name, attrs, tensors, len(node.output), opset, domain)
    return fold(g, call) or emit_call(g, call, values)


def emit_call(g: Emitter, call: Call, around: Mapping[str, Item]) -> Sequence[ir.Value]:
    """Write one node: translated, by the body of its function, or as it is.

    ``around``: what the graph around it has; bodies among the attributes read it.
    """
    if call.op_type in REDUCTIONS:
        call = axes_as_input(g, call)
        special = special_reduction(g, call)
        if special is not None:
            return [special]
    translate = None if call.domain else TRANSLATIONS.get(call.op_type)
    if translate is not None:
        return translate(g, call)
    rules = info(call.op_type, call.domain)
    if rules.gradient is None and not rules.no_gradient:
        body = body_of(call)
        if body is not None:
            return _emit_body(g, call, body, around)
    check_emitted(call)
    attrs: dict[str, Any] = dict(call.attrs)
    return g.ops(call.op_type, *call.inputs, outputs=call.outputs, **attrs)


def _attributes(node: onnx.NodeProto, arguments: Mapping[str, ir.Attr]) -> dict[str, ir.Attr]:
    attributes = {}
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            attributes[attribute.name] = ir.serde.deserialize_attribute(attribute)
        elif attribute.ref_attr_name in arguments:
            value = arguments[attribute.ref_attr_name]
            attributes[attribute.name] = ir.Attr(attribute.name, value.type, value.value)
    return attributes


# Functions: operators that the standard defines by others ---------------------------------------


def _emit_body(
    g: Emitter, call: Call, body: onnx.FunctionProto, around: Mapping[str, Item]
) -> Sequence[ir.Value]:
    values: Values = {}
    for attribute in call.attrs.values():  # its nodes stand in the body, its constants do not
        if attribute.type == ir.AttributeType.GRAPH:
            values |= around
            for name, constant in attribute.as_graph().initializers.items():
                if constant.const_value is not None:
                    values[name] = g.const(constant.const_value.numpy())
    values |= {n: v for n, v in zip(body.input, call.inputs) if v is not None}
    arguments = dict(call.attrs)
    for default in body.attribute_proto:
        arguments.setdefault(default.name, ir.serde.deserialize_attribute(default))
    schema = onnx.defs.get_schema(call.op_type, call.opset, call.domain)
    for name, attribute in schema.attributes.items():
        if name not in arguments and attribute.default_value.name:
            arguments[name] = ir.serde.deserialize_attribute(attribute.default_value)
    versions = [o.version for o in body.opset_import if o.domain in STANDARD]
    _emit_nodes(g, body.node, values, versions[0] if versions else call.opset, arguments)
    outputs = body.output[: call.outputs]
    return [tensor_of(values[name], f"the output {name!r}") for name in outputs]

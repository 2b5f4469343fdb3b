"""Types of an ONNX graph that are read as others: bfloat16 as float32, optionals as tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from symbucket.symbol.onnx.walk import all_graphs

_OF_TYPES = frozenset({"dtype", "output_dtype"})
"""Attributes that name the type of a result."""


def require_optional_inputs(graph: onnx.GraphProto) -> None:
    """Make tensors of the inputs that are optional tensors: what a network is given is there."""
    for value in graph.input:
        kind = value.type.optional_type.elem_type
        if value.type.HasField("optional_type") and kind.HasField("tensor_type"):
            copy = onnx.TypeProto()
            copy.CopyFrom(kind)
            value.type.CopyFrom(copy)


def has_bfloat16(graph: onnx.GraphProto) -> bool:
    """Return whether some value, constant or cast is bfloat16."""
    for part in all_graphs(graph):
        values = (*part.input, *part.output, *part.value_info)
        if any(v.type.tensor_type.elem_type == TensorProto.BFLOAT16 for v in values):
            return True
        if any(t.data_type == TensorProto.BFLOAT16 for t in part.initializer):
            return True
        for node in part.node:
            for attribute in node.attribute:
                if attribute.t.data_type == TensorProto.BFLOAT16 or (
                    attribute.name in {"to", *_OF_TYPES} and attribute.i == TensorProto.BFLOAT16
                ):
                    return True
    return False


def read_bfloat16_as_float32(graph: onnx.GraphProto) -> None:
    """Compute in float32 what the file has in bfloat16; a Cast to it still rounds.

    No CPU runtime computes in bfloat16, and numpy does not have it. float32 holds all its numbers.
    """
    names: set[str] = set()
    for part in all_graphs(graph):
        for value in (*part.input, *part.output, *part.value_info):
            if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
                names.add(value.name)
        for tensor in part.initializer:
            if tensor.data_type == TensorProto.BFLOAT16:
                names.add(tensor.name)
            _widen(tensor)
        nodes = [copy for node in part.node for copy in _nodes_for(node, names)]
        del part.node[:]
        part.node.extend(nodes)


def _nodes_for(node: onnx.NodeProto, names: set[str]) -> Iterator[onnx.NodeProto]:
    """Yield a node without bfloat16; for a Cast to it, two that round to it.

    ``names``: the values that are known to be bfloat16 in the file.
    """
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for attribute in copy.attribute:
        if attribute.HasField("t"):
            _widen(attribute.t)
        if attribute.name in _OF_TYPES and attribute.i == TensorProto.BFLOAT16:
            attribute.i = TensorProto.FLOAT
    to = next((a.i for a in node.attribute if a.name == "to"), None)
    if node.op_type == "CastLike" and node.input[1] in names:
        copy = helper.make_node(
            "Cast", node.input[:1], node.output, node.name, to=TensorProto.BFLOAT16
        )
        to = TensorProto.BFLOAT16
    if copy.op_type == "Cast" and to == TensorProto.BFLOAT16:
        rounded = f"{node.output[0]}/bfloat16"
        copy.output[0] = rounded
        yield copy
        name = f"{node.name or node.output[0]}/float32"
        yield helper.make_node("Cast", [rounded], node.output, name, to=TensorProto.FLOAT)
    else:
        yield copy


def _widen(tensor: onnx.TensorProto) -> None:
    external = tensor.data_location == TensorProto.EXTERNAL
    if tensor.data_type == TensorProto.BFLOAT16 and not external:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
